"""Settings of the traces that are told to an OpenTelemetry collector."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from oncopixel_pacs.settings.section import Section

#: Where a collector takes traces (OTLP specification, "OTLP/HTTP Request").
_TRACES_PATH = "/v1/traces"


class TracingSettings(Section):
    """One trace of each study, from its association to the proof; off without an endpoint."""

    endpoint: str = Field(default="", pattern=r"^(https?://[^\s@#]+)?$")
    """Collector that takes OTLP over HTTP, such as ``http://collector:4318``; empty: no traces.
    Without a path ``/v1/traces`` is meant."""
    headers: tuple[SecretStr, ...] = ()
    """Headers that it asks for, such as ``"Authorization: Bearer …"``."""
    ratio: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the studies that are traced."""
    service_name: Annotated[str, Field(min_length=1, max_length=64)] = "oncopixel-pacs"
    """What the traces call us, as ``service.name``."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.endpoint and not urlsplit(self.endpoint).hostname:
            raise ValueError("endpoint names no host")
        if any(":" not in item.get_secret_value() for item in self.headers):
            raise ValueError('headers are written "Name: value"')
        return self

    @property
    def address(self) -> str:
        """Where traces are posted."""
        has_path = urlsplit(self.endpoint).path.strip("/")
        return self.endpoint if has_path else self.endpoint.rstrip("/") + _TRACES_PATH

    @property
    def header_values(self) -> dict[str, str]:
        """The headers by name."""
        pairs = (item.get_secret_value().partition(":") for item in self.headers)
        return {name.strip(): value.strip() for name, _, value in pairs}
