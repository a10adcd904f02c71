"""A decoder that crashes, hangs or hogs harms its image, and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from process_memory import children_of
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless
from server_process import wait_until

from oncopixel_pacs.domain import Reason
from oncopixel_pacs.errors import OutOfResources, UnreadableImage
from oncopixel_pacs.imaging.decode_pool import DecodeLimits, DecodePool
from oncopixel_pacs.imaging.mammogram import read_mammogram
from sample_dicom.study import make_study


def write(folder: Path, rows: int = 256, columns: int = 208) -> Path:
    dataset = make_study(4, lesion=False, rows=256, columns=208)[1].dataset
    stored = np.resize(dataset.pixel_array, (rows, columns))
    options = {"codecformat": "j2k", "reversible": True}
    dataset.PixelData = encapsulate([imagecodecs.jpeg2k_encode(stored, **options)])
    dataset["PixelData"].VR = "OB"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    path = folder / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path)


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Path]:
    """Make a file whose reader waits for ever, as a decoder would that never ends."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    yield fifo


def dataset_of(path: Path) -> Dataset:
    return dcmread(path)


def test_the_pixels_are_the_same_as_here(path: Path) -> None:
    with DecodePool() as pool:
        assert (read_mammogram(path, pool).pixels == read_mammogram(path).pixels).all()


def test_what_is_not_compressed_starts_no_child(tmp_path: Path) -> None:
    plain = tmp_path / "plain.dcm"
    make_study(4, lesion=False, rows=256, columns=208)[1].dataset.save_as(
        plain, enforce_file_format=True
    )
    before = children_of(os.getpid())
    with DecodePool() as pool:
        assert read_mammogram(plain, pool).pixels.shape == (256, 208)
        assert children_of(os.getpid()) == before


def test_a_damaged_codestream_says_why(path: Path) -> None:
    dataset = dataset_of(path)
    dataset.Rows = 300
    dataset.save_as(path, enforce_file_format=True)
    with DecodePool() as pool, pytest.raises(UnreadableImage) as caught:
        read_mammogram(path, pool)
    assert str(caught.value) == (
        "The pixel data cannot be decoded. The codestream is 256 x 208 pixels, "
        "the header says 300 x 208."
    )


def test_a_decoder_that_never_ends_is_ended(path: Path, stuck: Path) -> None:
    with DecodePool(limits=DecodeLimits(seconds=0.5)) as pool:
        with pytest.raises(ValueError, match=r"more than 0.5 seconds"):
            pool(dataset_of(path), stuck)
        assert read_mammogram(path, pool).pixels.shape == (256, 208)


def test_a_decoder_that_crashes_takes_only_its_image_with_it(path: Path, stuck: Path) -> None:
    with DecodePool() as pool:
        read_mammogram(path, pool)
        caught: list[BaseException] = []

        def ask() -> None:
            try:
                pool(dataset_of(path), stuck)
            except ValueError as exc:
                caught.append(exc)

        asking = threading.Thread(target=ask)
        asking.start()
        # The child has opened the other end: it is at work on this image.
        with stuck.open("wb"):
            worker = next(pid for pid in children_of(os.getpid()) if has_open(pid, stuck))
            os.kill(worker, signal.SIGSEGV)
            asking.join(30)
        assert [str(item) for item in caught] == ["the codestream crashed its decoder"]
        assert read_mammogram(path, pool).pixels.shape == (256, 208)


def test_decoders_outlive_the_thread_that_first_asked(path: Path) -> None:
    with DecodePool(2) as pool:
        with ThreadPoolExecutor(1) as reader:
            reader.submit(read_mammogram, path, pool).result()
            decoders = decoders_of(os.getpid())
        assert read_mammogram(path, pool).pixels.shape == (256, 208)
        assert decoders_of(os.getpid()) == decoders


def test_a_decoder_that_is_ended_while_idle_costs_no_image(path: Path) -> None:
    with DecodePool() as pool:
        read_mammogram(path, pool)
        for pid in decoders_of(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        for _ in range(3):
            assert read_mammogram(path, pool).pixels.shape == (256, 208)


def test_an_image_whose_decoder_was_ended_from_outside_is_decoded_again(
    path: Path, stuck: Path
) -> None:
    """The kernel ends processes so when memory is short: that is no word on the image."""
    with DecodePool() as pool, ThreadPoolExecutor(1) as thread:
        read_mammogram(path, pool)
        asking = thread.submit(pool, dataset_of(path), stuck)
        with stuck.open("wb"):
            (first,) = decoders_of(os.getpid())
            os.kill(first, signal.SIGKILL)
            wait_until(
                lambda: any(has_open(pid, stuck) for pid in decoders_of(os.getpid()) - {first}),
                30,
                "another decoder at work on the image",
            )
        assert isinstance(asking.exception(), ValueError)  # an empty file is no image
        assert "crashed" not in str(asking.exception())


def test_decoders_that_cannot_start_are_no_fault_of_the_image(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DecodePool() as pool:
        # As where the interpreter was removed by an upgrade under a running server.
        monkeypatch.setattr("multiprocessing.spawn._python_exe", b"/bin/false")
        with pytest.raises(OutOfResources, match="do not stay alive"):
            read_mammogram(path, pool)
        monkeypatch.undo()
        assert read_mammogram(path, pool).pixels.shape == (256, 208)


def test_a_closed_pool_says_so(path: Path) -> None:
    pool = DecodePool()
    pool.close()
    with pytest.raises(OutOfResources, match="is being stopped"):
        read_mammogram(path, pool)


def decoders_of(pid: int) -> set[int]:
    return {child for child in children_of(pid) if is_decoder(child)}


def is_decoder(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def has_open(pid: int, path: Path) -> bool:
    """Whether a process, and not one that another test has left ending, has this file open."""
    with contextlib.suppress(FileNotFoundError):
        return any(item.resolve() == path for item in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_a_decoder_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    large = write(tmp_path, 2048, 2048)
    with (
        DecodePool(limits=DecodeLimits(memory_bytes=16 << 20)) as pool,
        pytest.raises(UnreadableImage) as caught,
    ):
        read_mammogram(large, pool)
    assert caught.value.reason is Reason.UNREADABLE_PIXELS
    assert caught.value.detail == "Decoding needs more memory than one image may take."


def test_children_end_with_the_pool(path: Path) -> None:
    before = set(children_of(os.getpid()))
    pool = DecodePool()
    read_mammogram(path, pool)
    started = set(children_of(os.getpid())) - before
    assert started
    pool.close()
    wait_until(
        lambda: not any(is_decoder(pid) for pid in set(children_of(os.getpid())) - before),
        10,
        "the end of the children",
    )
