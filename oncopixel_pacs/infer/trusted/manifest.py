"""Every file of a trusted bundle: its digests as they are pinned, and the bytes that have them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.settings import ModelSettings, TrustedSettings

_MAX_FILES = 2000
_MAX_BYTES = 4_000_000_000
#: What Python leaves beside the files that it runs; never pinned, copied or run.
_LEFT_OUT = frozenset({"__pycache__"})


def read_manifest(name: str, bundle: Path) -> tuple[str, ...]:
    """List every file of a bundle with its SHA-256, as ``sha256sum`` writes it.

    Raises
    ------
    ModelRefused
        When something in the folder is no plain file, cannot be read, or there is too much.
    """
    return tuple(f"{_digest(name, bundle / path)}  {path}" for path in _paths(name, bundle))


def require_unchanged(model: ModelSettings, trusted: TrustedSettings) -> None:
    """Compare every file of a bundle with its pin.

    Raises
    ------
    ModelRefused
        When one is another, is missing or is new.
    """
    _compare(model, trusted, read_manifest(model.name, model.bundle))


def copy_pinned(model: ModelSettings, trusted: TrustedSettings, target: Path) -> None:
    """Copy a bundle and compare the copy with the pins, so that what is run is what was pinned.

    Raises
    ------
    ModelRefused
        As `require_unchanged`, or when there is no room for the copy.
    """
    for path in _paths(model.name, model.bundle):
        copy = target / path
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with (model.bundle / path).open("rb") as source, copy.open("wb") as file:
                while block := source.read(1 << 20):
                    file.write(block)
        except OSError as exc:
            raise ModelRefused(
                f"Model {model.name}: {path} cannot be copied to {target} ({exc.strerror}); "
                "make room there."
            ) from exc
    _compare(model, trusted, read_manifest(model.name, target))


def manifest_digest(trusted: TrustedSettings) -> str:
    """SHA-256 of all that an answer depends on beside the weights: files, classes, activation."""
    content = trusted.model_dump(mode="json", exclude={"seconds_per_image", "memory_mib"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _compare(model: ModelSettings, trusted: TrustedSettings, found: tuple[str, ...]) -> None:
    if not (unlike := set(trusted.files) ^ set(found)):
        return
    path = min(line.partition("  ")[2] for line in unlike)
    pinned = any(line.endswith(f"  {path}") for line in trusted.files)
    there = any(line.endswith(f"  {path}") for line in found)
    how = ("is not the file that is pinned" if there else "is missing") if pinned else "is new"
    raise ModelRefused(
        f"Model {model.name}: {path} {how}, and nothing of a trusted bundle may change; restore "
        "it, or look at what was changed and add the bundle again."
    )


def _paths(name: str, bundle: Path) -> list[str]:
    found: list[str] = []
    size = 0
    for folder, folders, files in os.walk(bundle):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        for entry in [*folders, *files]:
            path = Path(folder, entry)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise ModelRefused(
                    f"Model {name}: {path} is a link or no plain file; put the file itself there."
                )
        found += [Path(folder, file).relative_to(bundle).as_posix() for file in files]
        size += sum(Path(folder, file).stat().st_size for file in files)
        if len(found) > _MAX_FILES or size > _MAX_BYTES:
            raise ModelRefused(
                f"Model {name}: {bundle} holds over {_MAX_FILES} files or over "
                f"{_MAX_BYTES // 1_000_000_000} GB; leave in it what the model needs."
            )
    if not found:
        raise ModelRefused(f"Model {name}: {bundle} holds no file; check its bundle setting.")
    return sorted(found)


def _digest(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ModelRefused(
            f"Model {name}: {path} cannot be read ({exc.strerror}); restore the file."
        ) from exc
