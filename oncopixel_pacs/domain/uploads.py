"""What an upload is: files that a person or a web back end hands over, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from oncopixel_pacs.domain.facts import Laterality, View

#: Stands in the place of the calling AE title of an uploaded image.
UPLOAD_SOURCE = "UPLOAD"


class RefusalKind(StrEnum):
    """Why an upload is refused as a whole."""

    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    UNSUPPORTED = "unsupported"
    UNACCEPTABLE = "unacceptable"
    NO_ROOM = "no-room"


@dataclass(frozen=True, slots=True)
class Description:
    """What the sender says of a picture that has no DICOM header.

    Attributes
    ----------
    pixel_spacing_mm
        Size of a square pixel in the breast plane.
    """

    laterality: Laterality | None = None
    view: View | None = None
    pixel_spacing_mm: float | None = None
    patient_id: str = ""
    patient_name: str = ""
    accession_number: str = ""


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One file as it came: where its bytes lie, and what the sender says of it.

    Attributes
    ----------
    path
        Inside the folder for incoming files; whoever made it removes it.
    sha256
        Hex digest of its bytes.
    """

    name: str
    path: Path
    size_bytes: int
    sha256: str
    description: Description = Description()


class FileOutcome(StrEnum):
    """What became of one file of an upload."""

    RECEIVED = "received"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    SKIPPED = "skipped"

    @property
    def held(self) -> bool:
        """Whether the image is among those that are analysed."""
        return self in (FileOutcome.RECEIVED, FileOutcome.DUPLICATE)


@dataclass(frozen=True, slots=True)
class UploadedImage:
    """One file of an upload, or one entry of an uploaded archive, and what became of it.

    Attributes
    ----------
    detail
        One sentence where it is not analysed or was here before.
    digest
        Of its data set, where it came in conflict with what was held: by it one sees when it was
        taken in that one's place.
    """

    name: str
    outcome: FileOutcome
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    detail: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload. The same files with the same descriptions are the same upload."""

    id: str
    created_at: datetime
    images: tuple[UploadedImage, ...]

    @property
    def studies(self) -> tuple[str, ...]:
        """Study Instance UIDs of the images that are held, each once."""
        held = (item.study_instance_uid for item in self.images if item.outcome.held)
        return tuple(dict.fromkeys(held))
