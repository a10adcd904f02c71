"""Several devices: a child for each, and studies for whichever has the least to do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import lost_device
import pretended_child
import pytest
from bundle_builder import write_own_bundle
from mammogram_builder import SCREENING, STUDY_UID, write_mammogram

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import AnalysisFailed
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.infer import device_process
from oncopixel_pacs.infer.device_pool import DevicePool
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage
from oncopixel_pacs.settings import InferenceSettings, ModelSettings


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSettings, ...]:
    return (write_own_bundle(tmp_path_factory.mktemp("bundle"), ModelTask.CLASSIFY),)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> AnalysisRequest:
    folder = tmp_path_factory.mktemp("study")
    paths = [write_mammogram(folder, view) for view in SCREENING]
    images = tuple(RequestedImage(read_mammogram(path).facts, path) for path in paths)
    return AnalysisRequest(STUDY_UID, 1, images, folder / "labels")


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < limit, "the condition did not come true in time"
        pause.wait(0.02)


def pids() -> set[int]:
    children = multiprocessing.active_children()
    return {child.pid for child in children if child.name == "oncopixel-device" and child.pid}


def held_study(study: AnalysisRequest, labels: Path) -> AnalysisRequest:
    """Make a study that a pretended child reads until its file ``hold`` is gone."""
    labels.mkdir()
    (labels / "hold").touch()
    return replace(study, labels_dir=labels)


def test_two_children_read_two_studies_at_a_time_and_one_may_die(
    models: tuple[ModelSettings, ...],
    study: AnalysisRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_process, "serve", pretended_child.serve)
    others = pids()
    held = [held_study(study, tmp_path / name) for name in ("first", "second")]
    (tmp_path / "free").mkdir()
    free = replace(study, labels_dir=tmp_path / "free")
    with (
        DevicePool(models, InferenceSettings(device="cpu", processes=2)) as pool,
        ThreadPoolExecutor(2) as threads,
    ):
        pool.start()
        running = [threads.submit(pool.analyse, request) for request in held]
        wait_for(lambda: all((request.labels_dir / "begun").exists() for request in held))
        assert len(pids() - others) == 2
        os.kill(min(pids() - others), signal.SIGKILL)
        wait_for(lambda: any(analysis.done() for analysis in running))
        failed, goes_on = sorted(running, key=lambda analysis: not analysis.done())
        with pytest.raises(AnalysisFailed, match="SIGKILL"):
            failed.result()
        assert pool.analyse(free).revision == free.revision, "there is a device that is free"
        assert not goes_on.done()
        for request in held:
            (request.labels_dir / "hold").unlink()
        assert goes_on.result().revision == study.revision
        assert (pool.device, pool.alarm) == ("pretended", "")


def test_each_gpu_has_a_child_and_a_lost_one_is_told(
    models: tuple[ModelSettings, ...],
    study: AnalysisRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_process, "serve", lost_device.serve)
    with DevicePool(models, InferenceSettings(threads=1)) as pool:
        pool.start()
        wait_for(lambda: pool.device == "cuda:0: Pretended, cuda:1: Pretended")
        assert pool.ready
        assert pool.analyse(study).device == "cpu"
        assert pool.device == "cpu, cuda:1: Pretended"
        assert pool.alarm.startswith("The device cuda:0 gave up")


def test_a_model_that_is_refused_makes_no_device_ready(models: tuple[ModelSettings, ...]) -> None:
    wrong = models[0].model_copy(update={"sha256": "0" * 64})
    with DevicePool((wrong,), InferenceSettings(device="cpu", processes=2)) as pool:
        pool.start()
        wait_for(lambda: pool.problem)
        assert "is pinned" in pool.problem
        assert not pool.ready
        assert pool.device == ""
        assert pool.trouble.startswith("The models cannot be loaded; studies wait")
        assert pool.problem in pool.trouble


def test_models_that_are_there_again_are_loaded_without_a_study(
    models: tuple[ModelSettings, ...], tmp_path: Path
) -> None:
    mounted = tmp_path / "bundle"
    moved = models[0].model_copy(update={"bundle": mounted})
    with DevicePool((moved,), InferenceSettings(device="cpu")) as pool:
        pool.mend()
        pool.start()
        wait_for(lambda: pool.problem)
        mounted.symlink_to(models[0].bundle.resolve())
        pool.mend()
        wait_for(lambda: pool.ready)
        assert pool.trouble == ""
