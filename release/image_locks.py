"""Writes ``deploy/images/*.lock``: what the images install, each file pinned by its SHA-256.

``make image-locks`` runs it after a locked version changed; it needs uv and the package index. The
versions are those of ``requirements.lock``. Wheels of torch for a CPU are on an index of their own,
so their digests stand here.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "images"
TORCH = "2.13.0"
#: Of torch 2.13.0+cpu for CPython 3.11 on x86-64.
TORCH_CPU_SHA256 = "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
_CUDA_ONLY = re.compile(r"torch|triton|cuda-.*|nvidia-.*")
_HEAD = (
    "# Written by `make image-locks`: versions of requirements.lock, for CPython 3.11 on x86-64.\n"
)


def resolved(source: str, *options: str) -> dict[str, str]:
    """Resolve what a file asks for; returns each requirement with its digests, by name."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "resolved"
        subprocess.run(  # noqa: S603
            [
                *("uv", "pip", "compile", source, "--quiet", "--generate-hashes"),
                *("--constraint", "requirements.lock", "--no-annotate", "--no-header"),
                *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"),
                *("--output-file", str(out), *options),
            ],
            cwd=ROOT,
            check=True,
        )
        text = out.read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)(==.*(?:\n    --hash.*)+)", text, re.MULTILINE)
    return {name: name + rest + "\n" for name, rest in found}


def main() -> None:
    """Write the locks: each flavour of torch, what serves, what trains besides, what builds."""
    serving = resolved("pyproject.toml")
    training = resolved("pyproject.toml", "--extra", "training")
    building = resolved("requirements-build.lock") | resolved("requirements-release.lock")
    cuda = {name: pin for name, pin in serving.items() if _CUDA_ONLY.fullmatch(name)}
    parts = {
        "serving": [pin for name, pin in serving.items() if name not in cuda],
        "training": [pin for name, pin in training.items() if name not in serving],
        "torch-cuda": list(cuda.values()),
        "building": list(building.values()),
        "torch-cpu": [f"torch=={TORCH}+cpu \\\n    --hash=sha256:{TORCH_CPU_SHA256}\n"],
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, pins in parts.items():
        (FOLDER / f"{name}.lock").write_text(_HEAD + "".join(pins), encoding="utf-8")


if __name__ == "__main__":
    main()
