"""The child process that inflates and decodes what strangers upload, within limits."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from oncopixel_pacs.child_process import belong_to
from oncopixel_pacs.domain.uploads import Description, RefusalKind
from oncopixel_pacs.errors import UploadRefused
from oncopixel_pacs.receive.upload.archives import Entry, unpack_archive
from oncopixel_pacs.receive.upload.formats import FileKind
from oncopixel_pacs.receive.upload.pictures import read_picture
from oncopixel_pacs.receive.upload.secondary_capture import write_secondary_capture
from oncopixel_pacs.settings.uploads import UploadSettings
from oncopixel_pacs.store.free_space import disk_advice

MEMORY_BYTES = 4 << 30


@dataclass(frozen=True)
class WrapOrder:
    """Wrap a picture as a Secondary Capture."""

    name: str
    source: Path
    kind: FileKind
    size_bytes: int
    description: Description
    sop_instance_uid: str
    study_instance_uid: str
    target: Path


@dataclass(frozen=True)
class UnpackOrder:
    """Unpack an archive."""

    name: str
    source: Path
    folder: Path
    prefix: str


@dataclass(frozen=True)
class Orders:
    """What is to be done for one upload."""

    limits: UploadSettings
    parent_pid: int
    wrap: tuple[WrapOrder, ...] = ()
    unpack: tuple[UnpackOrder, ...] = ()


@dataclass(frozen=True)
class Report:
    """What was done: entries of each archive, in order, or the first refusal."""

    entries: tuple[tuple[Entry, ...], ...] = ()
    refusal: RefusalKind | None = None
    message: str = ""


ORDERS = TypeAdapter(Orders)
REPORTS = TypeAdapter(Report)


def carry_out(orders: Orders) -> Report:
    """Do what is ordered, up to the first refusal."""
    entries: list[tuple[Entry, ...]] = []
    room = orders.limits.max_unpacked_bytes
    name = ""
    try:
        for wrap in orders.wrap:
            name = wrap.name
            _wrap(wrap, orders.limits)
        for order in orders.unpack:
            name = order.name
            found = unpack_archive(order.source, order.folder, order.prefix, orders.limits, room)
            room -= sum(entry.path.stat().st_size for entry in found if entry.path)
            entries.append(tuple(found))
    except UploadRefused as exc:
        return Report(refusal=exc.kind, message=f"{name}: {exc}" if name else str(exc))
    except MemoryError:
        return Report(
            refusal=RefusalKind.UNACCEPTABLE,
            message=f"{name}: The file needs more memory than an upload may.",
        )
    except OSError as exc:
        return Report(
            refusal=RefusalKind.NO_ROOM,
            message=f"The disk does not take the upload ({exc.strerror}); {disk_advice(exc)}.",
        )
    return Report(entries=tuple(entries))


def main() -> None:
    """Read orders from standard input and write the report to standard output."""
    orders = ORDERS.validate_json(sys.stdin.buffer.read())
    belong_to(orders.parent_pid)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, int(orders.limits.unpack_seconds) + 1)
    sys.stdout.buffer.write(REPORTS.dump_json(carry_out(orders)))


def _wrap(order: WrapOrder, limits: UploadSettings) -> None:
    picture = read_picture(order.source, order.kind, limits.max_pixels)
    write_secondary_capture(
        order.target,
        picture,
        order.kind,
        order.size_bytes,
        order.description,
        order.sop_instance_uid,
        order.study_instance_uid,
    )


def _limit(kind: int, value: int) -> None:
    most = resource.getrlimit(kind)[1]
    allowed = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (allowed, most))


if __name__ == "__main__":
    main()
