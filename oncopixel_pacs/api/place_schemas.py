"""What is told of configured destinations and sources, and whether they are there.

The command line tells the same; so nothing here needs the routes.
"""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.shape import shape
from oncopixel_pacs.domain import ObjectKind
from oncopixel_pacs.settings import (
    CStoreDestination,
    DestinationSettings,
    FolderDestination,
    SourceSettings,
)


class DestinationSummary(BaseModel):
    """What stands of a destination in the configuration."""

    model_config = shape(
        {key: examples.DESTINATION[key] for key in ("name", "type", "address", "objects")}
    )

    name: str
    type: Literal["cstore", "orthanc", "stow", "folder"]
    address: str
    """Without password."""
    objects: tuple[ObjectKind, ...]

    @classmethod
    def of(cls, settings: DestinationSettings) -> Self:
        """Describe a destination."""
        return cls(
            name=settings.name,
            type=settings.type,
            address=address_of_destination(settings),
            objects=settings.objects,
        )


class EchoAnswer(BaseModel):
    """Whether a destination is there."""

    model_config = shape({"ok": True, "said": "pacs (ARCHIVE at 192.0.2.10 port 104) answered"})

    ok: bool
    said: str
    """What it answered, or what to check."""


class SourceAnswer(BaseModel):
    """An archive from which studies can be pulled."""

    model_config = shape(examples.SOURCE)

    name: str
    type: str
    address: str

    @classmethod
    def of(cls, source: SourceSettings) -> Self:
        """Answer for a source, without what is secret."""
        return cls(name=source.name, type=source.type, address=address_of_source(source))


def address_of_destination(settings: DestinationSettings) -> str:
    """Where a destination is, as people write it; without password."""
    if isinstance(settings, CStoreDestination):
        return f"{settings.ae_title}@{settings.host}:{settings.port}"
    if isinstance(settings, FolderDestination):
        return str(settings.path)
    parts = urlsplit(settings.url)
    # A URL may carry user and password before the host.
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def address_of_source(source: SourceSettings) -> str:
    """Where a source is, as people write it."""
    if source.type == "cmove":
        return f"{source.query_ae_title or source.ae_title}@{source.host}:{source.port}"
    return source.url
