"""Pixel data that is small to send and large to decode: kept, named, and harmless."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_builder import PIXEL_BOMBS
from process_memory import children_of, peak_mebibytes

from oncopixel_pacs.deliver.cstore import send_files
from sample_dicom.study import make_study
from tests.server_process import ServerProcess

pytestmark = pytest.mark.slow

#: What a process may grow by; each bomb asks for at least 512 MB, and up to 8.6 GB.
MOST_GROWTH_MEBIBYTES = 150


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(
        tmp_path_factory.mktemp("bombs"), completion="settle_seconds = 0.2\nquiet_seconds = 0.5"
    )
    server.start()
    yield server
    server.stop()


def analysed_size(server: ServerProcess) -> dict[int, float]:
    return {pid: peak_mebibytes(pid) for pid in [server.pid, *children_of(server.pid)]}


def send(server: ServerProcess, paths: list[Path]) -> list[str]:
    outcomes = send_files(
        paths,
        "127.0.0.1",
        server.dimse_port,
        called_ae_title="ONCOPIXEL",
        calling_ae_title="MODALITY",
    )
    return [outcome.status for outcome in outcomes]


def test_each_bomb_is_kept_and_named_and_the_server_stays_small(
    server: ServerProcess, tmp_path: Path
) -> None:
    studies, paths = {}, []
    for number, (name, arm) in enumerate(PIXEL_BOMBS.items()):
        dataset = make_study(8000 + number, lesion=False, rows=256, columns=208)[0].dataset
        arm(dataset)
        paths.append(tmp_path / f"{number}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
        studies[name] = str(dataset.StudyInstanceUID)
    before = analysed_size(server)
    assert send(server, paths) == ["0x0000"] * len(paths)
    said = {}
    for name, uid in studies.items():
        job = server.finished_job(uid)
        (image,) = job["result"]["images"]
        said[name] = (job["state"], image["reason"], bool(image["reason_detail"]))
    assert said == {name: ("not-analysed", "unreadable-pixels", True) for name in PIXEL_BOMBS}
    after = analysed_size(server)
    assert set(before) <= set(after), "a process of the server has died"
    grown = {pid: after[pid] - before[pid] for pid in before}
    assert max(grown.values()) < MOST_GROWTH_MEBIBYTES, grown


def test_an_image_that_came_among_bombs_is_drawn_and_read(
    server: ServerProcess, tmp_path: Path
) -> None:
    """The decoders are as good as new, for the models and for the pages."""
    dataset = make_study(8100, lesion=False, rows=256, columns=208)[0].dataset
    path = tmp_path / "good.dcm"
    dataset.save_as(path, enforce_file_format=True)
    assert send(server, [path]) == ["0x0000"]
    job = server.finished_job(str(dataset.StudyInstanceUID))
    assert job["state"] == "done"
