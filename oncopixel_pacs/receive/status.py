"""What a sender is told: exception to DIMSE status (PS3.4 B.2.3, PS3.7 Annex C)."""

from __future__ import annotations

from dataclasses import dataclass

from oncopixel_pacs.errors import (
    CannotUnderstand,
    DatasetMismatch,
    IntakeRefused,
    OutOfResources,
)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATASET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
UNEXPECTED = 0xC001

STATUS_OF: tuple[tuple[type[IntakeRefused], int], ...] = (
    (OutOfResources, OUT_OF_RESOURCES),
    (DatasetMismatch, DATASET_MISMATCH),
    (CannotUnderstand, CANNOT_UNDERSTAND),
)

#: Error Comment (0000,0902) is an LO: 64 characters, no backslash.
COMMENT_CHARACTERS = 64


def status_code(error: Exception) -> int:
    """Status that stands for an error; `UNEXPECTED` for one that is not in the table."""
    for kind, code in STATUS_OF:
        if isinstance(error, kind):
            return code
    return UNEXPECTED


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to a C-STORE request.

    Attributes
    ----------
    status, comment
        Status (0000,0900) and Error Comment (0000,0902) of the response.
    outcome
        What became of an object that is safe, for the log.
    """

    status: int
    comment: str = ""
    outcome: str = ""


def refusal(error: Exception) -> Answer:
    """Answer to a C-STORE that is refused.

    The text of an unexpected error stays in the log: it may quote the data set.
    """
    known = isinstance(error, IntakeRefused)
    return Answer(
        status_code(error), _comment(str(error) if known else "Unexpected error; see the log.")
    )


def _comment(text: str) -> str:
    plain = text.encode("ascii", "replace").decode("ascii").replace("\\", "/")
    plain = " ".join(plain.split())
    if len(plain) <= COMMENT_CHARACTERS:
        return plain
    return plain[: COMMENT_CHARACTERS - 3].rstrip() + "..."
