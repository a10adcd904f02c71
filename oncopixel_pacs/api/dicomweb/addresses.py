"""Where things are: the paths of PS3.18 10.1, and what they name in the store."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request

from oncopixel_pacs.api.parts import ApiParts
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.imaging.frames import StoredObject, read_object
from oncopixel_pacs.store.search import Criteria, HeldObject

PREFIX = "/dicom-web"
STUDY = "/studies/{study_instance_uid}"
SERIES = STUDY + "/series/{series_instance_uid}"
INSTANCE = SERIES + "/instances/{sop_instance_uid}"
FRAMES = INSTANCE + "/frames/{frames}"

_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
#: PS3.5 9.1; zeros that lead a component exist in the field.
Uid = Annotated[str, Path(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64)]


def service_url(request: Request) -> str:
    """Our DICOMweb root, under the name that the client used."""
    base = request.base_url
    server = request.scope.get("server")
    if base.port is None and base.hostname in _THIS_MACHINE and server and server[1] != 80:
        # Some clients leave the port out of Host. A proxy for others has a name of its own.
        base = base.replace(port=server[1])
    return f"{str(base).rstrip('/')}{PREFIX}"


def object_url(root: str, item: HeldObject) -> str:
    """Address of one object."""
    return f"{series_url(root, item)}/instances/{item.sop_instance_uid}"


def series_url(root: str, item: HeldObject) -> str:
    """Address of the series of an object."""
    return f"{study_url(root, item.study_instance_uid)}/series/{item.series_instance_uid}"


def study_url(root: str, study_instance_uid: str) -> str:
    """Address of a study."""
    return f"{root}/studies/{study_instance_uid}"


def find(
    parts: ApiParts, study: str, series: str | None = None, instance: str | None = None
) -> tuple[HeldObject, ...]:
    """Objects under a path, images first.

    Raises
    ------
    NotFound
        When there is none.
    """
    criteria = Criteria(
        study_instance_uids=(study,),
        series_instance_uids=(series,) if series else (),
        sop_instance_uids=(instance,) if instance else (),
    )
    found = parts.search.objects(criteria)
    if not found:
        what = "instance" if instance else "series" if series else "study"
        raise NotFound(f"There is no such {what} here.")
    return found


def open_object(parts: ApiParts, item: HeldObject) -> StoredObject:
    """Read the header of an object, and find its pixels.

    Raises
    ------
    NotFound
        When its file is gone.
    UnreadableImage
        When it cannot be parsed.
    """
    try:
        return read_object(parts.files.absolute(item.path))
    except OSError as exc:
        raise NotFound("The file of this instance cannot be read; see the log.") from exc
