"""OHIF, a viewer of others, beside our own pages: fetched, checked, unpacked and found again.

Its published build runs as it is. Only what the build sets for the path that it is served under
is set here (`PUBLIC_URL` of its own build), and its configuration file is ours.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess  # noqa: S404  # npm is what publishes OHIF
import tarfile
import tempfile
from importlib import resources
from pathlib import Path

from oncopixel_pacs.errors import ConfigurationError

PACKAGE = "@ohif/app@3.13.2"
#: SHA-512 of the published package, as npm states it.
INTEGRITY = (
    "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
)
#: Path below which it is served.
BASE = "/ohif/"
_DIST = "package/dist/"
#: Parts of the build that mammography does not need; three quarters of its size.
_LEFT_OUT = (f"{_DIST}ort/", f"{_DIST}dicom-microscopy-viewer/")
_PUBLIC_PATH = '__webpack_require__.p = "/";'
_FETCH_SECONDS = 900


def viewer_folder(data_dir: Path) -> Path:
    """Where the viewer of this version lies, installed or not."""
    return data_dir / "viewer" / PACKAGE.rpartition("/")[2]


def installed_viewer(data_dir: Path) -> Path | None:
    """Folder of the installed viewer; ``None`` when there is none of this version."""
    folder = viewer_folder(data_dir)
    return folder if (folder / "index.html").is_file() else None


def install_viewer(data_dir: Path, archive: Path | None = None) -> Path:
    """Fetch the viewer with npm, check it and put it in place; whole or not at all.

    Parameters
    ----------
    archive
        The package as a file, for a machine without internet; else npm fetches it.

    Returns
    -------
    pathlib.Path
        Folder that it lies in.

    Raises
    ------
    ConfigurationError
        When it cannot be fetched, is not the package that it should be, or there is no room.
    """
    target = viewer_folder(data_dir)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as name:
            folder = Path(name)
            packed = archive or _fetch(folder)
            check_integrity(packed)
            dist = _unpack(packed, folder)
            _relocate(dist)
            shutil.rmtree(target, ignore_errors=True)
            dist.rename(target)
    except (OSError, tarfile.TarError) as exc:
        raise ConfigurationError(
            f"The viewer cannot be installed below {target.parent} ({exc}); "
            "make room, or check the file."
        ) from exc
    return target


def check_integrity(archive: Path) -> None:
    """Compare a package with what its publisher stated.

    Raises
    ------
    ConfigurationError
        When it is another.
    """
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    if base64.b64encode(digest).decode() != INTEGRITY:
        raise ConfigurationError(
            f"{archive.name} is not {PACKAGE} as it was published: its SHA-512 differs. "
            "Fetch it again, from a registry that can be trusted."
        )


def configuration() -> str:
    """Give the configuration of the viewer for a DICOMweb server of its own origin."""
    return (resources.files(__name__) / "app-config.js").read_text(encoding="utf-8")


def _fetch(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigurationError(
            f"npm is needed to fetch {PACKAGE}; install it, or give the package with --archive."
        )
    try:
        done = subprocess.run(  # noqa: S603  # nothing of it comes from outside
            [npm, "pack", PACKAGE, "--silent"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ConfigurationError(f"npm did not fetch {PACKAGE} in time; try again.") from exc
    found = list(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        said = done.stderr.strip()[-200:] or "it said nothing"
        raise ConfigurationError(
            f"npm could not fetch {PACKAGE} ({said}); check the network, or give it with --archive."
        )
    return found[0]


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as packed:
        wanted = [
            item
            for item in packed.getmembers()
            if item.name.startswith(_DIST) and not item.name.startswith(_LEFT_OUT)
        ]
        packed.extractall(folder, wanted, filter="data")
    return folder / _DIST


def _relocate(dist: Path) -> None:
    """Set the path that the build is served under, as building with PUBLIC_URL would."""
    page = dist / "index.html"
    text = page.read_text(encoding="utf-8").replace('PUBLIC_URL="/"', f'PUBLIC_URL="{BASE}"')
    page.write_text(re.sub(r'\b(href|src|content)="/(?!/)', rf'\1="{BASE}', text), encoding="utf-8")
    for bundle in dist.glob("app.bundle.*.js"):
        script = bundle.read_text(encoding="utf-8")
        if script.count(_PUBLIC_PATH) != 1:
            raise ConfigurationError(f"{bundle.name} is not built as expected; report it.")
        moved = script.replace(_PUBLIC_PATH, f'__webpack_require__.p = "{BASE}";')
        bundle.write_text(moved, encoding="utf-8")
