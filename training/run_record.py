"""What a run was made of: digests of every input file and of the code, versions, counts."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from oncopixel_pacs import imaging, infer
from oncopixel_pacs.errors import ConfigurationError
from training.datasets.example import Example
from training.duplicates import patient_of
from training.protocol import Parts, confounders, label_of
from training.recipe import DataPart, Recipe

_PACKAGES = ("torch", "monai", "pytorch-lightning", "numpy", "scikit-learn", "oncopixel-pacs")


def digest_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by path."""
    unique = sorted(set(paths))
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(map(str, unique), pool.map(digest_file, unique), strict=True))


def digest_code() -> str:
    """SHA-256 over the sources that decide a result: training, preprocessing, networks."""
    roots = [Path(__file__).parent, *(Path(str(one.__file__)).parent for one in (imaging, infer))]
    digest = hashlib.sha256()
    for root in roots:
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.yaml"), *root.rglob("*.toml")]):
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all.

    Processes of other devices look for it while it is written, and a kill leaves no half of it.
    """
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def git_commit() -> str | None:
    """Commit of the working copy that the code runs from; ``None`` outside one."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - whichever git the user has
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def write_run(
    out: Path, recipe: Recipe, examples: Iterable[Example], parts: Parts, left_out: list[str]
) -> None:
    """Write ``run.json``: with it and the same files a result can be had again."""
    every = list(examples)
    content: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "code_sha256": digest_code(),
        "commit": git_commit(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "images": {
            name: dict(Counter(example.source for example in part)) for name, part in _named(parts)
        },
        "patients": {
            name: len({(example.source, example.patient) for example in part})
            for name, part in _named(parts)
        },
        "parts": {name: list(who) for name, who in _patients(parts).items()},
        "parts_sha256": _digest_parts(parts, recipe.data),
        "left_out_as_copies_of_test_images": list(parts.dropped),
        "left_out_without_a_breast": left_out,
        "confounders": [asdict(one) for one in confounders(every, recipe.data)],
        "inputs_sha256": digest_files(path for example in every for path in example.files),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "run.json", json.dumps(content, indent=2) + "\n")


def require_same_parts(folder: Path, parts: Parts, data: DataPart) -> None:
    """Refuse to take up a fold with other images, labels or parts than it was begun with.

    Raises
    ------
    ConfigurationError
        When they differ from those that `write_run` left in `folder`.
    """
    before = _recorded(folder).get("parts_sha256")
    if before not in (None, _digest_parts(parts, data)):
        raise ConfigurationError(
            f"{folder} was trained on other images, labels or parts than the sets hold now; "
            "choose another --out."
        )


def require_unseen(folder: Path, parts: Parts) -> None:
    """Refuse to score a fold on patients that it learned from.

    Without official parts, patients that are added to a set share all of them out anew.

    Raises
    ------
    ConfigurationError
        When a patient of training or validation would be tested on, or one of training decide.
    """
    before = _recorded(folder).get("parts")
    if before is None:
        return
    now = _patients(parts)
    learned, decided = set(before["train"]), set(before["val"])
    seen = (learned | decided) & set(now["test"]) | learned & set(now["val"])
    if seen:
        raise ConfigurationError(
            f"The sets changed since {folder} was trained: it has learned from {len(seen)} of the "
            "patients that would score it now, and the figures would flatter it. Give the sets as "
            "they were, or fit anew with another --out."
        )


def _recorded(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _named(parts: Parts) -> tuple[tuple[str, tuple[Example, ...]], ...]:
    return ("train", parts.train), ("val", parts.val), ("test", parts.test)


def _patients(parts: Parts) -> dict[str, list[str]]:
    return {name: sorted({patient_of(one) for one in part}) for name, part in _named(parts)}


def _digest_parts(parts: Parts, data: DataPart) -> str:
    lines = sorted(
        json.dumps([name, one.source, one.key, one.patient, label_of(one, data)])
        for name, part in _named(parts)
        for one in part
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
