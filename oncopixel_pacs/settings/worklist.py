"""Settings of worklists (beta): who has work for us, by UPS-RS. Part of `settings`."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from oncopixel_pacs.settings.section import Section

_Text = Annotated[str, Field(max_length=16, pattern=r"^[!-~]*$")]


class WorklistSettings(Section):
    """A worklist from which workitems are taken and performed (beta)."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
    """Name of the worklist, unique; keep it, since what was claimed is known by it."""
    url: str = Field(pattern=r"^https?://[^\s@#?]+$")
    """Base URL of the UPS-RS service, above ``/workitems``, without user or password."""
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    """Bearer token, in the place of user and password."""
    poll_seconds: float = Field(default=30.0, ge=1, le=3600)
    """How often it is asked for work."""
    station_name: _Text = ""
    """Station name under which we perform; our AE title when absent."""
    code_value: _Text = ""
    """Only workitems with this Scheduled Workitem Code are taken; any when absent."""
    code_scheme: _Text = ""
    """Coding Scheme Designator of ``code_value``."""
    source: str | None = None
    """One of ``[[sources]]``, from which a study is pulled that is not here."""
    wait_seconds: float = Field(default=3600.0, ge=0, le=31_536_000)
    """How long a study is waited for that is neither here nor in a source."""
    at_a_time: int = Field(default=4, ge=1, le=1000)
    """Workitems that we have claimed and not ended; more stay for others."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not urlsplit(self.url).hostname:
            raise ValueError("url names no host")
        if self.token and self.user:
            raise ValueError("give token, or user and password, not both")
        if bool(self.code_value) != bool(self.code_scheme):
            raise ValueError("give code_value and code_scheme, or neither")
        return self


def require_known_sources(worklists: tuple[WorklistSettings, ...], sources: list[str]) -> None:
    """Refuse a worklist that names a source which is none of these."""
    for item in worklists:
        if item.source is not None and item.source not in sources:
            raise ValueError(f"worklist {item.name} names the source {item.source}, which is none")
