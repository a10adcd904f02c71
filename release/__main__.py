"""``python -m release``: make everything that a release consists of; publish when told to."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from release.checks import obstacles
from release.third_party import PAGE, page, texts

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a program; its failure ends the release."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([str(part) for part in command], cwd=cwd, check=True, env=clean)  # noqa: S603


def build(out: Path) -> Path:
    """Build the source distribution, and from it the wheel; returns the wheel."""
    shutil.rmtree(out, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out)
    (wheel,) = out.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", *out.iterdir())
    return wheel


def install_clean(wheel: Path, folder: Path, torch: str) -> Path:
    """Install the wheel with locked dependencies where nothing else is; returns that Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet")
    run(*pip, torch)
    run(*pip, "--constraint", ROOT / "requirements.lock", wheel)
    return python


def version_of(wheel: Path) -> str:
    """Version that a wheel's name states."""
    return wheel.name.split("-")[1]


def make(out: Path, torch: str) -> str:
    """Make distributions, prove them in a clean environment, write what goes with them.

    Parameters
    ----------
    out
        Folder that is emptied and filled.
    torch
        Requirement or wheel of torch for the clean environment.

    Returns
    -------
    str
        The version that was made.
    """
    wheel = build(out)
    version = version_of(wheel)
    with tempfile.TemporaryDirectory(prefix="oncopixel-release-") as name:
        folder = Path(name)
        python = install_clean(wheel, folder / "environment", torch)
        run(python.with_name("oncopixel"), "--version", cwd=folder)
        run(python.with_name("oncopixel"), "demo", "--no-keep", cwd=folder)
        bill = out / f"oncopixel_pacs-{version}.cdx.json"
        run(
            *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"),
            *("--pyproject", ROOT / "pyproject.toml", "--mc-type", "application"),
            *("--of", "JSON", "--output-file", bill, python),
        )
    (out / "third-party-licences.txt").write_text(texts(), encoding="utf-8")
    sums = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}" for p in sorted(out.iterdir())
    ]
    (out / "SHA256SUMS").write_text("\n".join(sums) + "\n", encoding="utf-8")
    return version


def main() -> int:
    """Make a release; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--torch", default="torch==2.13.0")
    parser.add_argument("--publish", action="store_true", help="upload; else nothing leaves")
    options = parser.parse_args()
    if page() != PAGE.read_text(encoding="utf-8"):
        print("release: THIRD_PARTY_LICENSES.md is not what is installed; run `make licences`.")
        return 1
    out = options.out.absolute()
    version = make(out, options.torch)
    distributions = sorted([*out.glob("*.whl"), *out.glob("*.tar.gz")])
    in_the_way = list(obstacles(ROOT, version))
    for sentence in in_the_way:
        print(f"release: {sentence}")
    if not options.publish:
        print(f"Dry run of {version}: nothing was published. Made in {out}:")
        for path in sorted(out.iterdir()):
            print(f"  {path.stat().st_size / 1024:8.0f} KiB  {path.name}")
        return 0
    if in_the_way:
        return 1
    run(sys.executable, "-m", "twine", "upload", *distributions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
