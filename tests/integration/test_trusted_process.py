"""A trusted bundle that misbehaves reaches nothing, and the next image is read."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from oncopixel_pacs.errors import AnalysisFailed, ModelRefused
from oncopixel_pacs.infer.cards import read_card
from oncopixel_pacs.infer.trusted.network import TrustedNetwork
from oncopixel_pacs.infer.trusted.process import TrustedProcess
from oncopixel_pacs.settings import InferenceSettings
from tests.trusted_builder import needs_confinement, write_zoo_bundle, zoo_model

pytestmark = needs_confinement

#: What the bundle does with an image of so many rows; of others it reads the densities.
_CODE = """
import ctypes, os, socket, subprocess, threading, time, urllib.request
from pathlib import Path
import torch

def loopback():
    socket.create_connection(("127.0.0.1", {port}), timeout=5)

def datagram():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"pixels", ("127.0.0.1", {port}))

def unix():
    socket.socket(socket.AF_UNIX).connect("{secret}")

def in_a_thread():
    said = []
    def call():
        try:
            loopback()
        except OSError as exc:
            said.append(exc)
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    raise said[0]

def read_secret():
    Path("{secret}").read_text()

def write_outside():
    Path("{folder}/left-behind").write_text("x")

def write_itself():
    Path(__file__ if "__file__" in globals() else "scripts/steps.py").write_text("x")

def delete():
    os.unlink("{secret}")

def rights():
    os.chmod("{secret}", 0o777)

def program():
    subprocess.run(["/bin/sh", "-c", "echo"], check=True)

def fork():
    os.fork()

def signal_parent():
    os.kill(os.getppid(), 9)

def system_call():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(41, 2, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "raw socket call")

def outside():
    urllib.request.urlopen("http://example.org", timeout=5)

def environment():
    ours = ("ONCOPIXEL", "PATH", "PYTHON", "VIRTUAL")
    raise ValueError([name for name in os.environ if name.startswith(ours)])

def descriptors():
    raise ValueError(sorted(int(name) for name in os.listdir("/proc/self/fd"))[-1])

def scratch():
    Path(os.environ["TMPDIR"], "note.txt").write_text("x")

def prints():
    print("x" * 100_000, flush=True)

def nan():
    item["pred"] = item["pred"] * float("nan")

def shape():
    item["pred"] = torch.zeros(3)

def beyond():
    item["pred"] = item["pred"] + 7

def huge():
    item["pred"] = torch.zeros(1000, 1000)

def memory():
    torch.ones(6_000_000_000, dtype=torch.uint8)

def bare():
    bytearray(6_000_000_000)

def crash():
    ctypes.string_at(0)

def hang():
    time.sleep(3600)

deeds = [{deeds}]
rows = int(item["image"].meta["spatial_shape"][1])
if rows - 100 in range(len(deeds)):
    deeds[rows - 100]()
"""
_DEEDS = [name for name in re.findall(r"^def (\w+)", _CODE, re.MULTILINE)]


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """Somebody on this machine who would answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trusted")
    (folder / "secret.txt").write_text("of the server")
    return folder


@pytest.fixture(scope="module")
def network(folder: Path, listener: socket.socket) -> Iterator[TrustedNetwork]:
    code = _CODE.format(
        port=listener.getsockname()[1],
        secret=folder / "secret.txt",
        folder=folder,
        deeds=", ".join(_DEEDS),
    )
    model = zoo_model(write_zoo_bundle(folder / "bad", code=code), memory_mib=3000)
    assert model.trusted is not None
    card = read_card(model)
    network = TrustedNetwork(model, model.trusted, card, InferenceSettings(threads=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONCOPIXEL_DATABASE_URL", "postgresql://user:password@host/database")
        ask(network)
    yield network
    network.close()


def picture(deed: str = "") -> NDArray[np.float32]:
    rows = 100 + _DEEDS.index(deed) if deed else 64
    ramp = np.linspace(0.0, 1.0, rows * 48, dtype=np.float32)
    return np.repeat(ramp.reshape(1, rows, 48), 3, axis=0)


def ask(network: TrustedNetwork, deed: str = "") -> NDArray[np.float32]:
    import torch

    return np.asarray(network(torch.from_numpy(picture(deed))[None]))


@pytest.mark.parametrize("deed", _DEEDS[: _DEEDS.index("outside")])
def test_it_reaches_nothing(
    network: TrustedNetwork, folder: Path, listener: socket.socket, deed: str
) -> None:
    with pytest.raises(AnalysisFailed, match=r"PermissionError: .*(not permitted|denied|raw)"):
        ask(network, deed)
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert (folder / "secret.txt").read_text() == "of the server"
    assert not (folder / "left-behind").exists()
    assert (folder / "secret.txt").stat().st_mode & 0o777 != 0o777


def test_it_reaches_no_other_host(network: TrustedNetwork) -> None:
    with pytest.raises(AnalysisFailed, match="URLError"):
        ask(network, "outside")


def test_it_finds_no_variable_and_no_open_file_of_ours(network: TrustedNetwork) -> None:
    with pytest.raises(AnalysisFailed, match=r"ValueError: \[\] at"):
        ask(network, "environment")
    with pytest.raises(AnalysisFailed, match=r"ValueError: ([3-9]|1[0-5]) at"):
        ask(network, "descriptors")


def test_it_may_use_its_scratch_folder_and_print(network: TrustedNetwork) -> None:
    assert ask(network, "scratch").shape == (1, 4)
    assert ask(network, "prints").shape == (1, 4)


def test_it_answers_with_probabilities_and_no_words(network: TrustedNetwork) -> None:
    first = ask(network)
    assert first.shape == (1, 4)
    assert 0 < first.min() < first.max() < 1
    assert (ask(network) == first).all()


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("shape", r"shape \(3,\) where its metadata state 4 classes"),
        ("beyond", "no probabilities; set activation"),
        ("huge", r"\(1000, 1000\), which is far too large"),
        ("memory", "memory"),
        ("bare", "MemoryError: it asked for more than memory_mib lets it have at scripts/steps"),
    ],
)
def test_what_it_does_wrong_is_said_and_the_next_image_is_read(
    network: TrustedNetwork, deed: str, words: str
) -> None:
    with pytest.raises(AnalysisFailed, match=words) as told:
        ask(network, deed)
    assert told.value.permanent
    assert ask(network).shape == (1, 4)


def test_nan_is_passed_on_for_the_check_of_every_model(network: TrustedNetwork) -> None:
    assert np.isnan(ask(network, "nan")).all()


def test_one_that_crashes_says_how(network: TrustedNetwork) -> None:
    with pytest.raises(AnalysisFailed, match="was ended by SIGSEGV during the image") as told:
        ask(network, "crash")
    assert not told.value.permanent


def test_one_that_hangs_is_ended_and_started_again(network: TrustedNetwork) -> None:
    ask(network)
    process = network._process
    process.trusted = process.trusted.model_copy(update={"seconds_per_image": 0.5})
    child = process._child
    assert child is not None
    with pytest.raises(AnalysisFailed, match=r"took more than 0.5 s for the image"):
        ask(network, "hang")
    assert child.poll() is not None


def test_files_that_change_between_start_and_start_are_not_run(
    folder: Path, listener: socket.socket
) -> None:
    model = zoo_model(write_zoo_bundle(folder / "changing"))
    assert model.trusted is not None
    (model.bundle / "scripts" / "steps.py").write_text("raise SystemExit")
    process = TrustedProcess(model, model.trusted, ("image", "pred"))
    with pytest.raises(ModelRefused, match="is not the file that is pinned"):
        process.start()
