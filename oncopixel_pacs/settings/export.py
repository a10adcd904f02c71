"""Settings of exports (beta): who gets a report that is no DICOM object. Part of `settings`."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from oncopixel_pacs.settings.section import Section


class ExportSettings(Section):
    """A FHIR server that gets a DiagnosticReport when a study is finished (beta)."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
    """Name of the export, unique among exports and webhooks."""
    type: Literal["fhir"]
    """What is sent: a transaction of FHIR R4."""
    url: str = Field(pattern=r"^https?://[^\s@#?]+$")
    """Base URL of the server, without user or password. Redirects are not followed."""
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    """Bearer token, in the place of user and password."""
    patient_system: str = Field(default="", max_length=200, pattern=r"^[!-~]*$")
    """URI of who gave the patients their IDs, such as ``urn:oid:1.2.3``."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not urlsplit(self.url).hostname:
            raise ValueError("url names no host")
        if self.token and self.user:
            raise ValueError("give token, or user and password, not both")
        return self

    @property
    def place(self) -> str:
        """Where it is sent."""
        return self.url
