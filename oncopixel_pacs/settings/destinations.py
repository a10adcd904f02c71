"""Settings of destinations: where results go, and which of them go there. Part of `settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from oncopixel_pacs.domain import ObjectKind, SegmentationForm
from oncopixel_pacs.settings.section import AeTitle, Name, Port, Section


class DestinationProfile(Section):
    """What goes to a destination."""

    viewer: Literal["full", "basic"] = "full"
    """What people see results with there; ``basic`` adds ``sc`` to the default of ``objects``."""
    objects: tuple[ObjectKind, ...] = (ObjectKind.SEG, ObjectKind.SR)
    """Which kinds of result objects go there."""
    segmentation: SegmentationForm = SegmentationForm.BINARY
    """Form of the segmentations that go there; the report that goes there refers to these."""
    report_not_analysed: bool = False
    """Whether the reports among ``objects`` go there, too, when no image could be analysed."""
    report_failed: bool = False
    """The same, when the analysis failed for good."""
    retract: bool = True
    """Whether a rejection note follows when results that went there are superseded."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Studies whose results each worker sends there at a time."""

    @model_validator(mode="before")
    @classmethod
    def _pictures_for_a_basic_viewer(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("viewer") == "basic" and "objects" not in given:
            return {**given, "objects": (ObjectKind.SEG, ObjectKind.SR, ObjectKind.SC)}
        return given

    @field_validator("objects")
    @classmethod
    def _chosen(cls, objects: tuple[ObjectKind, ...]) -> tuple[ObjectKind, ...]:
        if ObjectKind.REJECTION in objects:
            raise ValueError("rejection notes are not chosen here; set retract instead")
        return objects


class CStoreDestination(DestinationProfile):
    """A PACS that takes results by C-STORE."""

    type: Literal["cstore"]
    name: Name
    """Name of the destination, unique."""
    host: str
    port: Port
    ae_title: AeTitle
    """Called AE title."""
    tls: bool = False
    """Whether the connection is over TLS, with the certificate of ``[tls]``."""
    proof: Literal["auto", "commitment", "query", "none"] = "auto"
    """How it is asked whether it has what it accepted: storage commitment, C-FIND, nothing, or
    (``auto``) the first of them that it takes."""


class OrthancDestination(DestinationProfile):
    """An Orthanc that takes results by its REST API."""

    type: Literal["orthanc"]
    name: Name
    """Name of the destination, unique."""
    url: str
    """Base URL, such as ``http://127.0.0.1:8042``."""
    user: str | None = None
    password: SecretStr | None = None
    proof: Literal["auto", "none"] = "auto"
    """``auto``: each object is looked up after it was accepted."""


class StowDestination(DestinationProfile):
    """A DICOMweb archive that takes results by STOW-RS."""

    type: Literal["stow"]
    name: Name
    """Name of the destination, unique."""
    url: str = Field(pattern=r"^https?://[^\s/]+")
    """Base URL of the service, such as ``https://pacs.example.org/dicom-web``."""
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    """Bearer token, in the place of user and password."""
    proof: Literal["auto", "none"] = "auto"
    """``auto``: each object is searched for by QIDO-RS after it was accepted."""


class FolderDestination(DestinationProfile):
    """A folder that takes results as Part 10 files, one folder per study."""

    type: Literal["folder"]
    name: Name
    """Name of the destination, unique."""
    path: Path
    proof: Literal["auto", "none"] = "auto"
    """``auto``: each file is read back after it was written."""


DestinationSettings = Annotated[
    CStoreDestination | OrthancDestination | StowDestination | FolderDestination,
    Field(discriminator="type"),
]
