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
from training.datasets.example import Example
from training.protocol import Parts, confounders
from training.recipe import Recipe

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
            name: dict(Counter(example.source for example in part))
            for name, part in (("train", parts.train), ("val", parts.val), ("test", parts.test))
        },
        "patients": {
            name: len({(example.source, example.patient) for example in part})
            for name, part in (("train", parts.train), ("val", parts.val), ("test", parts.test))
        },
        "left_out_as_copies_of_test_images": list(parts.dropped),
        "left_out_without_a_breast": left_out,
        "confounders": [asdict(one) for one in confounders(every, recipe.data)],
        "inputs_sha256": digest_files(path for example in every for path in example.files),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
