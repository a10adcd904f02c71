"""Sends files that are odd, damaged or hostile as they stand, and tells what came of each."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import pydicom
from pydicom.uid import ImplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import split_dataset

from tests.dimse_builder import association

#: PS3.10 7.1: where files that have one carry their prefix.
_PREFIX = slice(128, 132)


@dataclass(frozen=True)
class Nasty:
    """One file, as much of it as can be made out without looking too closely."""

    name: str
    content: bytes
    dataset: bytes
    sop_class: str
    sop_instance: str
    syntax: str
    study: str


def nasty_files(folder: Path) -> list[Nasty]:
    """Read every file of the set; what is not DICOM at all is sent all the same."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.parent != folder)
    return [open_file(path, str(path.relative_to(folder))) for path in paths]


def open_file(path: Path, name: str) -> Nasty:
    """Take a file apart for sending."""
    content = path.read_bytes()
    offset, said = 0, pydicom.Dataset()
    if content[_PREFIX] == b"DICM":
        said, offset = split_dataset(path)
    inside = _read(path)

    def first(*values: object) -> str:
        return next((str(v) for v in values if v), "")

    return Nasty(
        name=name,
        content=content,
        dataset=content[offset:],
        sop_class=first(
            said.get("MediaStorageSOPClassUID"),
            inside.get("SOPClassUID"),
            SecondaryCaptureImageStorage,
        ),
        sop_instance=first(
            said.get("MediaStorageSOPInstanceUID"), inside.get("SOPInstanceUID"), "2.25.1"
        ),
        syntax=first(said.get("TransferSyntaxUID"), ImplicitVRLittleEndian),
        study=first(inside.get("StudyInstanceUID")),
    )


def _read(path: Path) -> pydicom.Dataset:
    tags = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"]
    try:
        return pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=tags)
    except Exception:  # pydicom raises whatever a broken file provokes
        return pydicom.Dataset()


def c_store(port: int, nasty: Nasty) -> str:
    """Send the data set as it is: ``0x0000``, another status, or why it could not be sent."""
    request = C_STORE()
    try:
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID = nasty.sop_class
        request.AffectedSOPInstanceUID = nasty.sop_instance
    except (TypeError, ValueError):
        return "not a UID"
    request.DataSet = BytesIO(nasty.dataset)
    syntaxes = (nasty.syntax,)
    with association(port, sop_class=nasty.sop_class, syntaxes=syntaxes) as assoc:
        context = next(
            (c for c in assoc.accepted_contexts if c.abstract_syntax == nasty.sop_class), None
        )
        if context is None:
            return "not offered"
        # As the library's own requests do, lest its reactor takes the response.
        assoc._reactor_checkpoint.clear()
        assoc.dimse.send_msg(request, context.context_id)
        _, answer = assoc.dimse.get_msg(block=True)
        assoc._reactor_checkpoint.set()
        if answer is None:
            return "cut off"
        if answer.Status and not answer.ErrorComment:
            return f"0x{answer.Status:04X} without a word"
        return f"0x{answer.Status:04X}"


def stow(url: str, nasty: Nasty) -> str:
    """Send the file as it is by STOW-RS: ``stored``, or the reason that its response gives."""
    body = b"--nasty\r\nContent-Type: application/dicom\r\n\r\n" + nasty.content + b"\r\n--nasty--"
    kind = 'multipart/related; type="application/dicom"; boundary=nasty'
    answer = httpx.post(
        f"{url}/dicom-web/studies", content=body, headers={"Content-Type": kind}, timeout=60
    )
    if answer.status_code == 200:
        return "stored"
    if answer.status_code != 409:
        return f"HTTP {answer.status_code}"
    said = pydicom.Dataset.from_json(answer.json())
    (failed,) = [*said.get("FailedSOPSequence", []), *said.get("OtherFailuresSequence", [])]
    return f"0x{failed.FailureReason:04X}" + ("" if failed.ErrorComment else " without a word")
