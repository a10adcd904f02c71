"""The oracle of the fault tests: what was promised, against what is there."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pydicom
from pynetdicom.dsutils import split_dataset

#: SOP class to kind of the objects that make up a result set.
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = "1.2.840.10008.5.1.4.1.1.88.34"


def dataset_digest(path: Path) -> str:
    """SHA-256 of the data set of a Part 10 file, the part that C-STORE carries."""
    _, offset = split_dataset(path)
    return hashlib.sha256(path.read_bytes()[offset:]).hexdigest()


def lost(acknowledged: Mapping[str, str], stored: Iterable[Path]) -> list[str]:
    """SOP Instance UIDs that were acknowledged and are not on disk with their digest."""
    held = {}
    for path in stored:
        header = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
        held.setdefault(str(header.SOPInstanceUID), set()).add(dataset_digest(path))
    return [uid for uid, digest in acknowledged.items() if digest not in held.get(uid, set())]


def wrong_result_sets(
    studies: Mapping[str, int], received: Mapping[str, Iterable[Path]]
) -> dict[str, Counter[str]]:
    """Studies whose results in the archive are not exactly one set.

    Parameters
    ----------
    studies
        Number of images by Study Instance UID; a set is one report of all of them, and the
        segmentations that this report refers to.
    received
        Result objects found in the archive, by Study Instance UID.
    """
    wrong = {}
    for study, images in studies.items():
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in received[study]]
        count = Counter(str(header.SOPClassUID) for header in headers)
        uids = [str(header.SOPInstanceUID) for header in headers]
        expected = _named_by_reports(headers)
        sources = sum(sop_class not in (SEG, SR) for sop_class in expected.values())
        segmentations = {uid for uid, sop_class in expected.items() if sop_class == SEG}
        held = {str(h.SOPInstanceUID) for h in headers if h.SOPClassUID == SEG}
        twice = len(set(uids)) != len(uids)
        if twice or count[SR] != 1 or held != segmentations or sources != images:
            wrong[study] = count
    return wrong


def _named_by_reports(headers: Iterable[pydicom.Dataset]) -> dict[str, str]:
    """SOP class of what the reports were made from, by SOP Instance UID."""
    return {
        str(item.ReferencedSOPInstanceUID): str(item.ReferencedSOPClassUID)
        for header in headers
        if header.SOPClassUID == SR
        for study in header.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
