"""Keeps what identifies a patient out of logs and warnings of the DICOM libraries."""

from __future__ import annotations

import logging
import warnings

from pynetdicom import _config


def quieten_libraries() -> None:
    """Stop pynetdicom from logging identifiers, and pydicom from quoting bad values.

    Their messages print names, dates and UIDs as received. What matters of them reaches the
    log as our own event. Safe to call more than once; holds for the process.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pydicom\.")
