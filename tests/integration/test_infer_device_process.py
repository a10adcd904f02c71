"""The child that runs the models: it answers, and when it dies or hangs only one attempt fails."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import lost_device
import pretended_child
import pytest
from bundle_builder import write_bundle, write_own_bundle
from mammogram_builder import SCREENING, STUDY_UID, write_mammogram
from pydicom import dcmread
from pydicom.uid import RLELossless

from oncopixel_pacs.domain import ModelTask, StudyResult
from oncopixel_pacs.errors import AnalysisFailed, ModelRefused, ModelsNotLoaded
from oncopixel_pacs.imaging.decode_pool import DecodePool
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.infer import device_process
from oncopixel_pacs.infer.device_child import _answers
from oncopixel_pacs.infer.device_process import DeviceProcess
from oncopixel_pacs.infer.loaded_models import load_models
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage, read_study
from oncopixel_pacs.settings import InferenceSettings, ModelSettings

CPU = InferenceSettings(device="cpu", threads=1, deadline_seconds=60)
THREE_AT_A_TIME = CPU.model_copy(update={"studies_at_a_time": 3})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSettings, ...]:
    folder = tmp_path_factory.mktemp("bundles")
    return tuple(write_own_bundle(folder / task, task) for task in ModelTask)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> AnalysisRequest:
    folder = tmp_path_factory.mktemp("study")
    paths = [write_mammogram(folder, view) for view in SCREENING]
    images = tuple(RequestedImage(read_mammogram(path).facts, path) for path in paths)
    return AnalysisRequest(STUDY_UID, 1, images, folder / "labels")


@pytest.fixture(scope="module")
def device(models: tuple[ModelSettings, ...]) -> Iterator[DeviceProcess]:
    with DeviceProcess(models, CPU) as process:
        process.wait_until_ready()
        yield process


class EndlessImage:
    """An image file whose reader waits for ever: a pipe into which nothing is written."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "image.dcm"
        os.mkfifo(self.path)
        self._write_end: int | None = None

    def being_read(self) -> bool:
        """Whether a process has opened the file."""
        if self._write_end is None:
            with contextlib.suppress(OSError):  # no reader yet
                self._write_end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        return self._write_end is not None

    def close(self) -> None:
        if self._write_end is not None:
            os.close(self._write_end)


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[EndlessImage]:
    image = EndlessImage(tmp_path)
    yield image
    image.close()


def compressed(study: AnalysisRequest, folder: Path) -> AnalysisRequest:
    """Give the study anew, from compressed files."""
    images = []
    for number, image in enumerate(study.images):
        dataset = dcmread(image.path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        path = folder / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        images.append(RequestedImage(read_mammogram(path).facts, path))
    return replace(study, images=tuple(images))


def with_image(study: AnalysisRequest, path: Path) -> AnalysisRequest:
    return replace(study, images=(replace(study.images[0], path=path),))


def device_pids() -> set[int]:
    children = multiprocessing.active_children()
    return {child.pid for child in children if child.name == "oncopixel-device" and child.pid}


def child_pid(others: Set[int] = frozenset()) -> int:
    (pid,) = device_pids() - others
    return pid


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < limit, "the condition did not come true in time"
        pause.wait(0.02)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.mark.parametrize("write", [write_own_bundle, write_bundle], ids=["ours", "of MONAI"])
def test_child_and_one_process_give_the_same_result(
    write: Callable[[Path, ModelTask], ModelSettings], study: AnalysisRequest, tmp_path: Path
) -> None:
    models = tuple(write(tmp_path / task, task) for task in ModelTask)
    with DeviceProcess(models, CPU) as device:
        device.wait_until_ready()
        assert device.ready
        assert device.device == "cpu"
        there = device.analyse(study)
    here = read_study(study, load_models(models, CPU))
    assert there.timings_seconds.keys() == here.timings_seconds.keys()
    assert replace(there, timings_seconds={}) == replace(here, timings_seconds={})


def test_threads_of_the_models_leave_the_cores_to_others_while_they_wait(
    models: tuple[ModelSettings, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("OMP_DISPLAY_ENV", "TRUE")
    with DeviceProcess(models, CPU) as process:
        process.wait_until_ready()
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in capfd.readouterr().err


def test_calls_from_many_threads_take_turns(device: DeviceProcess, study: AnalysisRequest) -> None:
    requests = [replace(study, revision=number) for number in range(6)]
    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(device.analyse, requests))
    assert [result.revision for result in results] == list(range(6))
    assert len({result.probability for result in results}) == 1


def test_a_failure_that_will_recur_is_said_to_be_permanent(
    device: DeviceProcess, study: AnalysisRequest
) -> None:
    with pytest.raises(AnalysisFailed, match="holds another image") as failure:
        device.analyse(with_image(study, study.images[1].path))
    assert failure.value.permanent
    assert device.ready, "the child goes on"


def test_an_unexpected_error_fails_the_study_and_not_the_child(
    device: DeviceProcess, study: AnalysisRequest
) -> None:
    pid = child_pid()
    nonsense = with_image(study, cast(Path, "a name instead of a path"))
    place = r"unexpected AttributeError at request.py:\d+"
    with pytest.raises(AnalysisFailed, match=place) as failure:
        device.analyse(nonsense)
    assert not failure.value.permanent
    assert "a name" not in str(failure.value)
    assert child_pid() == pid


def test_interrupt_at_the_terminal_leaves_the_child_alone(
    device: DeviceProcess, study: AnalysisRequest
) -> None:
    os.kill(child_pid(), signal.SIGINT)
    assert device.analyse(study).probability is not None


def test_a_child_that_died_idle_is_replaced_unnoticed(
    device: DeviceProcess, study: AnalysisRequest
) -> None:
    pid = child_pid()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not device.ready)
    assert device.analyse(study).probability is not None
    assert child_pid() != pid


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, r"SIGKILL \(often a lack of memory\)"), (signal.SIGSEGV, "SIGSEGV")],
)
def test_a_crash_fails_one_attempt_and_the_next_study_is_read(
    number: signal.Signals,
    words: str,
    device: DeviceProcess,
    study: AnalysisRequest,
    endless: EndlessImage,
) -> None:
    with ThreadPoolExecutor(1) as thread:
        analysis = thread.submit(device.analyse, with_image(study, endless.path))
        wait_for(endless.being_read)
        os.kill(child_pid(), number)
        with pytest.raises(AnalysisFailed, match=f"was ended by {words}") as failure:
            analysis.result()
    assert not failure.value.permanent
    assert device.analyse(study).probability is not None


def test_compressed_studies_are_read_one_after_the_other(
    device: DeviceProcess, study: AnalysisRequest, tmp_path: Path
) -> None:
    again = compressed(study, tmp_path)
    scores = {device.analyse(request).probability for request in (study, again, again)}
    assert len(scores) == 1 and None not in scores


def test_a_study_that_fails_takes_none_of_its_round_along(
    models: tuple[ModelSettings, ...], study: AnalysisRequest, tmp_path: Path
) -> None:
    wrong = with_image(study, study.images[1].path)
    loaded = load_models(models, CPU)
    with DecodePool() as decoder:
        sound, refused, third = _answers([study, wrong, study], loaded, decoder, 2)
    assert sound.result is not None
    assert third.result is not None
    assert sound.result.probability == third.result.probability is not None
    assert (refused.error, refused.permanent) == ("AnalysisFailed", True)


@pytest.fixture
def pretended(
    study: AnalysisRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AnalysisRequest:
    """Let children only pretend to read; gives a request whose files tell them to wait."""
    monkeypatch.setattr(device_process, "serve", pretended_child.serve)
    return replace(study, labels_dir=tmp_path / "labels")


def read_while_one_is_held(
    device: DeviceProcess,
    threads: ThreadPoolExecutor,
    study: AnalysisRequest,
    *revisions: int,
    hold: Path | None = None,
) -> list[Future[StudyResult]]:
    """Ask for studies that wait together; they are read when the one before them is."""
    hold_all, others = study.labels_dir / "hold", study.labels_dir / "others"
    others.mkdir(parents=True)
    for file in filter(None, (hold_all, hold)):
        file.touch()
    threads.submit(device.analyse, study)
    wait_for((study.labels_dir / "begun").exists)
    asked: list[Future[StudyResult]] = []
    for revision in revisions:
        request = replace(study, revision=revision, labels_dir=others)
        asked.append(threads.submit(device.analyse, request))
        wait_for(lambda: len(device._waiting) == len(asked))
    hold_all.unlink()
    return asked


def test_studies_that_wait_are_read_together(
    models: tuple[ModelSettings, ...], pretended: AnalysisRequest
) -> None:
    with DeviceProcess(models, THREE_AT_A_TIME) as device, ThreadPoolExecutor(6) as threads:
        asked = read_while_one_is_held(device, threads, pretended, 2, 3, 4, 5)
        together = [analysis.result().timings_seconds["together"] for analysis in asked]
        assert [analysis.result().revision for analysis in asked] == [2, 3, 4, 5]
    assert together == [3, 3, 3, 1], "three at most"


def test_an_answer_does_not_wait_for_the_rest_of_its_round(
    models: tuple[ModelSettings, ...], pretended: AnalysisRequest
) -> None:
    second_held = pretended.labels_dir / "others" / "hold-3"
    with DeviceProcess(models, CPU) as device, ThreadPoolExecutor(3) as threads:
        first, second = read_while_one_is_held(device, threads, pretended, 2, 3, hold=second_held)
        assert first.result(timeout=60).timings_seconds["together"] == 2
        assert not second.done()
        second_held.unlink()
        assert second.result().revision == 3


def test_a_study_that_ends_the_child_takes_none_of_its_round_along(
    models: tuple[ModelSettings, ...], pretended: AnalysisRequest
) -> None:
    with DeviceProcess(models, THREE_AT_A_TIME) as device, ThreadPoolExecutor(6) as threads:
        before, fatal, after = read_while_one_is_held(
            device, threads, pretended, 2, pretended_child.FATAL, 4
        )
        assert [before.result().revision, after.result().revision] == [2, 4]
        assert before.result().timings_seconds["together"] == 3, "it was read before the end"
        assert after.result().timings_seconds["together"] == 1, "the round fell apart"
        with pytest.raises(AnalysisFailed, match="SIGKILL"):
            fatal.result()


def test_a_study_past_the_deadline_fails_and_the_child_is_restarted(
    models: tuple[ModelSettings, ...], study: AnalysisRequest, endless: EndlessImage
) -> None:
    others = device_pids()
    limits = InferenceSettings(device="cpu", threads=1, deadline_seconds=3)
    with DeviceProcess(models, limits) as device:
        device.wait_until_ready()
        pid = child_pid(others)
        with pytest.raises(AnalysisFailed, match="took more than 3 s") as failure:
            device.analyse(with_image(study, endless.path))
        assert not failure.value.permanent
        wait_for(lambda: device.ready)
        assert child_pid(others) != pid
        assert device.analyse(study).probability is not None


def test_a_gpu_that_is_lost_leaves_its_study_to_the_cpu_and_raises_an_alarm(
    models: tuple[ModelSettings, ...],
    study: AnalysisRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_process, "serve", lost_device.serve)
    with DeviceProcess(models, CPU.model_copy(update={"device": "auto"})) as device:
        device.wait_until_ready()
        assert (device.device, device.alarm) == ("cuda:0: Pretended", "")
        assert device.analyse(study).device == "cpu"
        assert device.device == "cpu"
        assert device.alarm.startswith("The device cuda:0 gave up")
        assert "the models run on the CPU" in device.alarm


def test_a_gpu_that_must_be_used_is_not_left(
    models: tuple[ModelSettings, ...],
    study: AnalysisRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_process, "serve", lost_device.serve)
    with DeviceProcess(models, CPU.model_copy(update={"device": "cuda"})) as device:
        with pytest.raises(AnalysisFailed, match="gave up") as failure:
            device.analyse(study)
        assert not failure.value.permanent
        assert device.alarm == ""


def test_a_child_that_outgrows_its_memory_is_ended_with_a_sentence(
    models: tuple[ModelSettings, ...],
) -> None:
    with (
        DeviceProcess(models, CPU.model_copy(update={"memory_mib": 64})) as device,
        pytest.raises(ModelsNotLoaded, match="more than 64 MiB of memory for loading the models"),
    ):
        device.wait_until_ready()


def test_closing_ends_a_running_analysis(
    models: tuple[ModelSettings, ...], study: AnalysisRequest, endless: EndlessImage
) -> None:
    others = device_pids()
    device = DeviceProcess(models, CPU)
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(device.analyse, with_image(study, endless.path))
        wait_for(endless.being_read)
        waiting = threads.submit(device.analyse, study)
        pid = child_pid(others)
        device.close()
        for analysis in (running, waiting):
            with pytest.raises(AnalysisFailed, match="server was stopped"):
                analysis.result()
    assert gone(pid)
    assert not device.ready
    with pytest.raises(AnalysisFailed, match="server was stopped"):
        device.analyse(study)
    device.close()


def test_a_refused_model_is_reported_as_refused(
    models: tuple[ModelSettings, ...], study: AnalysisRequest
) -> None:
    wrong = models[0].model_copy(update={"sha256": "0" * 64})
    with DeviceProcess((wrong,), CPU) as device:
        device.start()
        wait_for(lambda: device.problem)
        assert "is pinned" in device.problem
        assert not device.ready
        with pytest.raises(ModelRefused, match="is pinned"):
            device.analyse(study)
        with pytest.raises(ModelRefused, match="is pinned"):
            device.wait_until_ready()


PARENT = """
import multiprocessing, sys
from pathlib import Path
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.infer.device_process import DeviceProcess
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage
from oncopixel_pacs.settings import InferenceSettings, ModelSettings

if __name__ == "__main__":
    image, endless, labels, *models = sys.argv[1:]
    models = [ModelSettings.model_validate_json(text) for text in models]
    device = DeviceProcess(models, InferenceSettings(device="cpu", threads=1))
    device.wait_until_ready()
    print(multiprocessing.active_children()[0].pid, flush=True)
    assert "torch" not in sys.modules
    facts = read_mammogram(Path(image)).facts
    images = (RequestedImage(facts, Path(endless)),)
    device.analyse(AnalysisRequest(facts.study_instance_uid, 1, images, Path(labels)))
"""


def test_the_child_dies_with_its_parent_even_when_busy_and_leaves_standard_output_alone(
    models: tuple[ModelSettings, ...],
    study: AnalysisRequest,
    endless: EndlessImage,
    tmp_path: Path,
) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    paths = [str(path) for path in (script, study.images[0].path, endless.path, tmp_path)]
    command = [sys.executable, *paths, *(model.model_dump_json() for model in models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_for(endless.being_read)
        assert os.readlink(f"/proc/{pid}/fd/1") == os.readlink(f"/proc/{pid}/fd/2")
        assert not gone(pid)
        parent.kill()
        wait_for(lambda: gone(pid), seconds=10)
        assert parent.stdout.read() == ""
