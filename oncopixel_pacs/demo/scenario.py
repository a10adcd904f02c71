"""The scenario: start everything, send a study from another process, wait, fetch, validate."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom

from oncopixel_pacs.demo.archives import Archive, open_archive
from oncopixel_pacs.errors import ConfigurationError, OncoPixelError
from oncopixel_pacs.report.external_validation import ToolReport, validate_with_tools

_MARK = ".oncopixel-demo"
_START_SECONDS = 180.0
_STUDY_SECONDS = 300.0
_POLL_SECONDS = 0.3

#: Told what the scenario does now.
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What the demonstration has to show.

    Attributes
    ----------
    job
        The job as the status API tells it.
    received
        Every result object as it was found in the archive.
    pictures
        PNG of each view with its overlay.
    """

    archive: str
    status_url: str
    job: dict[str, Any]
    received: tuple[Path, ...]
    report: ToolReport
    pictures: tuple[Path, ...]
    seconds: float


def prepare_folder(folder: Path) -> None:
    """Empty the demonstration's folder, if it is one.

    Raises
    ------
    ConfigurationError
        When the folder holds something else.
    """
    if folder.exists() and not (folder / _MARK).exists() and any(folder.iterdir()):
        raise ConfigurationError(
            f"{folder} exists and is not a demonstration's folder; choose another with --out."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()


@contextlib.contextmanager
def running(folder: Path, http_port: int, tell: Tell) -> Iterator[tuple[Archive, dict[str, int]]]:
    """Run archive and server in processes of their own; yields them when both are ready."""
    with contextlib.ExitStack() as closing:
        tell("Starting the archive")
        archive = open_archive(folder / "archive", free_port)
        archive.start()
        closing.callback(archive.stop)
        tell("Starting the server")
        config = _write_configuration(folder, archive, http_port)
        server = _start_server(folder, config)
        closing.callback(_stop_process, server)
        ports = _wait_for_ports(folder, server)
        tell("Loading the models")
        _wait_until_ready(ports, folder, server)
        yield archive, ports


def play(
    folder: Path, archive: Archive, ports: dict[str, int], seed: int, lesion: bool, tell: Tell
) -> Outcome:
    """Make a study, send it, wait for its results, fetch and validate them."""
    sources = _make_study(folder, seed, lesion, tell)
    started = time.monotonic()
    tell("Sending four images by C-STORE")
    _command(
        folder, "send", *map(str, sources), "--to", f"ONCOPIXEL@127.0.0.1:{ports['dimse_port']}"
    )
    base = f"http://127.0.0.1:{ports['http_port']}"
    uid = str(pydicom.dcmread(sources[0], stop_before_pixels=True).StudyInstanceUID)
    job = _wait_for_job(base, uid, tell)
    seconds = time.monotonic() - started
    tell("Fetching the results from the archive")
    sent = {item["sop_instance_uid"] for item in job["objects"]}
    received = tuple(
        path
        for path in archive.fetch(uid, folder / "received")
        if str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) in sent
    )
    if len(received) != len(sent):
        raise OncoPixelError(
            f"{len(received)} of {len(sent)} result objects are in the archive; "
            f"see the job at {base}/jobs/{job['id']}."
        )
    tell("Validating the results")
    report = validate_with_tools(received, sources)
    pictures = tuple(_save_pictures(base, job, folder / "pictures"))
    return Outcome(archive.name, f"{base}/", job, received, report, pictures, seconds)


def free_port() -> int:
    """Find a TCP port on the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_configuration(folder: Path, archive: Archive, http_port: int) -> Path:
    path = folder / "oncopixel.toml"
    path.write_text(
        f"""# Written by `oncopixel demo`.
data_dir = "data"
dimse_port = 0
http_port = {http_port}

[completion]
settle_seconds = 1.0
quiet_seconds = 10.0

[receive]
least_free_bytes = 0

[[peers]]
ae_title = "MODALITY"
address = "127.0.0.1"

[[destinations]]
name = "archive"
type = "cstore"
host = "127.0.0.1"
port = {archive.port}
ae_title = "{archive.ae_title}"
""",
        encoding="utf-8",
    )
    return path


def _start_server(folder: Path, config: Path) -> subprocess.Popen[bytes]:
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603
            [
                *_program(),
                "serve",
                "--config",
                str(config),
                "--ports-file",
                str(folder / "ports.toml"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait_for_ports(folder: Path, server: subprocess.Popen[bytes]) -> dict[str, int]:
    path = folder / "ports.toml"
    _wait(path.exists, _START_SECONDS, folder, server)
    ports: dict[str, int] = tomllib.loads(path.read_text(encoding="utf-8"))
    return ports


def _wait_until_ready(ports: dict[str, int], folder: Path, server: subprocess.Popen[bytes]) -> None:
    def ready() -> bool:
        url = f"http://127.0.0.1:{ports['http_port']}/health/ready"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url, timeout=5).status_code == 200
        return False

    _wait(ready, _START_SECONDS, folder, server)


def _wait(
    condition: Callable[[], bool],
    seconds: float,
    folder: Path,
    server: subprocess.Popen[bytes],
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if server.poll() is not None:
            log = (folder / "server.log").read_text(encoding="utf-8", errors="replace")
            last = "\n".join(log.splitlines()[-5:])
            raise OncoPixelError(f"The server stopped at its start; its last words:\n{last}")
        if time.monotonic() > deadline:
            raise OncoPixelError(
                f"The server was not ready after {seconds:.0f} s; "
                f"its log is {folder / 'server.log'}."
            )
        time.sleep(_POLL_SECONDS)


def _make_study(folder: Path, seed: int, lesion: bool, tell: Tell) -> list[Path]:
    tell("Generating a four-view study")
    flag = "--lesion" if lesion else "--no-lesion"
    _command(folder, "samples", "--out", str(folder / "sent"), "--seed", str(seed), flag)
    return sorted((folder / "sent").rglob("*.dcm"))


def _command(folder: Path, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603
        [*_program(), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise OncoPixelError(
            f"`oncopixel {arguments[0]}` failed: {(done.stderr or done.stdout).strip()} "
            f"The server's log is {folder / 'server.log'}."
        )


def _wait_for_job(base: str, study_instance_uid: str, tell: Tell) -> dict[str, Any]:
    deadline = time.monotonic() + _STUDY_SECONDS
    while time.monotonic() < deadline:
        study = httpx.get(f"{base}/api/v1/studies/{study_instance_uid}", timeout=10).json()
        jobs = httpx.get(
            f"{base}/api/v1/jobs", params={"study_instance_uid": study_instance_uid}, timeout=10
        ).json()["items"]
        if jobs:
            job: dict[str, Any] = httpx.get(
                f"{base}/api/v1/jobs/{jobs[0]['id']}", timeout=10
            ).json()
            tell(_progress(job))
            if job["state"] == "done":
                return job
            if job["state"] in ("failed", "not-analysed", "cancelled"):
                raise OncoPixelError(
                    f"The job ended as {job['state']}: {job['error']} See {base}/jobs/{job['id']}."
                )
        else:
            tell(f"Waiting for {study.get('waiting_for') or 'the study'}")
        time.sleep(_POLL_SECONDS)
    raise OncoPixelError(f"No result after {_STUDY_SECONDS:.0f} s; see {base}/.")


def _progress(job: dict[str, Any]) -> str:
    steps = ", ".join(f"{step['name']} {step['state']}" for step in job["steps"])
    return f"Job {job['state']}" + (f" ({steps})" if steps else "")


def _save_pictures(base: str, job: dict[str, Any], out: Path) -> Iterator[Path]:
    out.mkdir(parents=True, exist_ok=True)
    for image in job["result"]["images"]:
        uid = image["sop_instance_uid"]
        url = f"{base}/api/v1/jobs/{job['id']}/images/{uid}/overlay.png"
        path = out / f"{image['laterality']}-{image['view']}.png"
        path.write_bytes(httpx.get(url, timeout=30).raise_for_status().content)
        yield path


def _program() -> list[str]:
    return [sys.executable, "-m", "oncopixel_pacs"]


def _stop_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
