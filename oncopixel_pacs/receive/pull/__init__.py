"""Fetching studies from archives on request, one module per kind of source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oncopixel_pacs.receive.pull import cmove, dicomweb, orthanc
from oncopixel_pacs.receive.pull.remote import Fetch, Remote
from oncopixel_pacs.settings.dimse import TlsSettings
from oncopixel_pacs.settings.sources import SourceSettings

__all__ = ["Fetch", "Remote", "echo", "fetch", "find"]

#: Type of a source to the module that reads it; each has `echo`, `find` and `fetch` as below.
READERS: Mapping[str, Any] = {"cmove": cmove, "dicomweb": dicomweb, "orthanc": orthanc}


def echo(
    source: SourceSettings, *, calling_ae_title: str, timeout_seconds: float, tls: TlsSettings
) -> str:
    """Ask a source whether it is there; returns what it answered, in a few words.

    Raises
    ------
    PullFailed
        When it cannot be used; the message says what to check.
    """
    answer: str = READERS[source.type].echo(source, calling_ae_title, timeout_seconds, tls)
    return answer


def find(source: SourceSettings, study_instance_uid: str, work: Fetch) -> tuple[Remote, ...]:
    """List the objects of a study that a source holds.

    Raises
    ------
    PullFailed
        When the source cannot be asked.
    """
    found: tuple[Remote, ...] = READERS[source.type].find(source, study_instance_uid, work)
    return found


def fetch(
    source: SourceSettings, study_instance_uid: str, wanted: tuple[Remote, ...], work: Fetch
) -> None:
    """Have these objects of a study come in.

    What came is in the catalogue; the caller counts there, since a source may say what it likes.

    Raises
    ------
    PullFailed
        When the source gave up, or an object could not be taken; others may have come.
    """
    READERS[source.type].fetch(source, study_instance_uid, wanted, work)
