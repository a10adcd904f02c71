"""Settings of the archives from which studies are pulled, and of the attempts at it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from oncopixel_pacs.settings.section import AeTitle, Name, Port, PositiveSeconds, Section

_Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+")]


class CMoveSource(Section):
    """A PACS that is asked by C-FIND and sends by C-MOVE to our own listener."""

    type: Literal["cmove"]
    name: Name
    """Name of the source, unique."""
    host: str
    port: Port
    ae_title: AeTitle
    """AE title under which it sends to us; called for queries too, where no other is named."""
    query_ae_title: AeTitle | None = None
    """Called AE title of C-FIND and C-MOVE, where it is another than the one that sends."""
    move_destination: AeTitle | None = None
    """AE title under which it knows our listener; our own when absent."""
    tls: bool = False
    """Whether queries and moves go over TLS; what it sends comes to whichever of our ports it
    knows."""


class DicomWebSource(Section):
    """An archive that is asked by QIDO-RS and read by WADO-RS."""

    type: Literal["dicomweb"]
    name: Name
    """Name of the source, unique."""
    url: _Url
    """Base URL of the service, such as ``https://pacs.example.org/dicom-web``."""
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    """Bearer token, in the place of user and password."""


class OrthancSource(Section):
    """An Orthanc that is read through its REST API."""

    type: Literal["orthanc"]
    name: Name
    """Name of the source, unique."""
    url: _Url
    """Base URL, such as ``http://127.0.0.1:8042``."""
    user: str | None = None
    password: SecretStr | None = None


SourceSettings = Annotated[
    CMoveSource | DicomWebSource | OrthancSource, Field(discriminator="type")
]


class PullSettings(Section):
    """How studies are pulled from sources."""

    attempts: int = Field(default=5, ge=1)
    """Attempts at one pull before it ends as partial or failed."""
    first_retry_seconds: PositiveSeconds = 5.0
    """Wait before the second attempt; each further wait is twice as long."""
    max_retry_seconds: PositiveSeconds = 300.0
    """Longest wait between two attempts."""
    timeout_seconds: PositiveSeconds = 60.0
    """How long a source may be silent."""
