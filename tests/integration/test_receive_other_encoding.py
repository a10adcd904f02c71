"""The same object again in another encoding, as archives send what they have compressed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dimse_builder import Reception, association, mammogram, reception, store, write
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, JPEGLosslessSV1

from oncopixel_pacs.domain import IntakeOutcome


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path / "data") as running:
        yield running


@pytest.fixture
def held(received: Reception, tmp_path: Path) -> Path:
    """Take in an image whose pixels are not all alike."""
    image = mammogram(rows=64, columns=48)
    pixels = np.random.default_rng(1).integers(0, 4096, (64, 48), dtype="<u2")
    image.PixelData = pixels.tobytes()
    path = write(image, tmp_path / "held.dcm")
    assert received.intake.accept_file(path) is IntakeOutcome.NEW
    return path


def compressed(path: Path, *options: str) -> Path:
    target = path.with_name("compressed.dcm")
    subprocess.run(["dcmcjpeg", *options, path, target], check=True)
    return target


def conflicts(received: Reception) -> int:
    (study,) = received.catalogue.studies().items
    return study.conflicts


def test_what_an_archive_compressed_without_loss_is_the_same_object(
    received: Reception, held: Path
) -> None:
    before = list(received.files.stored_paths())
    sent = compressed(held, "+e1")
    assert dcmread(sent).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    with association(received.port, syntaxes=(JPEGLosslessSV1,)) as assoc:
        assert assoc.send_c_store(dcmread(sent)).Status == 0x0000
        assert assoc.send_c_store(dcmread(sent)).Status == 0x0000
    assert conflicts(received) == 0
    assert list(received.files.stored_paths()) == before
    assert not received.leftovers


def test_so_is_the_plain_image_of_what_came_compressed(received: Reception, tmp_path: Path) -> None:
    plain = write(mammogram(), tmp_path / "plain.dcm")
    assert received.intake.accept_file(compressed(plain, "+e1")) is IntakeOutcome.NEW
    assert received.intake.accept_file(plain) is IntakeOutcome.DUPLICATE
    assert conflicts(received) == 0


def test_and_what_differs_in_its_value_representations_alone(
    received: Reception, held: Path
) -> None:
    sent = held.with_name("implicit.dcm")
    subprocess.run(["dcmconv", "+ti", held, sent], check=True)
    assert dcmread(sent).file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert received.intake.accept_file(sent) is IntakeOutcome.DUPLICATE
    assert conflicts(received) == 0


@pytest.mark.parametrize("options", [("+eb", "+q", "80", "+un"), ("+ee", "+un")])
def test_what_was_compressed_with_loss_is_a_conflict(
    received: Reception, held: Path, options: tuple[str, ...]
) -> None:
    assert received.intake.accept_file(compressed(held, *options)) is IntakeOutcome.CONFLICT
    assert conflicts(received) == 1


@pytest.mark.parametrize("change", ["PatientID", "ImageLaterality", "pixels"])
def test_another_patient_side_or_pixel_is_a_conflict_in_any_encoding(
    received: Reception, held: Path, change: str
) -> None:
    image = dcmread(held)
    if change == "pixels":
        image.PixelData = bytes([image.PixelData[0] ^ 1]) + image.PixelData[1:]
    else:
        setattr(image, change, "R")
    sent = compressed(write(image, held.with_name("changed.dcm")), "+e1")
    assert received.intake.accept_file(sent) is IntakeOutcome.CONFLICT
    assert conflicts(received) == 1
    assert len(list(received.files.stored_paths())) == 2


def test_a_codestream_that_is_cut_is_a_conflict(received: Reception, held: Path) -> None:
    sent = compressed(held, "+e1")
    image = dcmread(sent)
    image.PixelData = image.PixelData[:200]
    image.save_as(sent)
    assert received.intake.accept_file(sent) is IntakeOutcome.CONFLICT


def test_a_judgement_that_was_cut_off_is_made_up_for_at_the_next_start(
    received: Reception, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_path: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(received.files, "discard", die)
        with pytest.raises(KeyboardInterrupt):
            received.intake.accept_file(compressed(held, "+e1"))
    assert len(list(received.files.stored_paths())) == 2
    received.intake.adopt_orphans()
    assert len(list(received.files.stored_paths())) == 1
    assert conflicts(received) == 0


def test_an_older_conflict_that_was_none_ends_when_the_object_comes_again(
    received: Reception, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = compressed(held, "+e1")
    with monkeypatch.context() as patch:
        patch.setattr(received.intake, "_same", lambda *_: False)
        assert received.intake.accept_file(sent) is IntakeOutcome.CONFLICT
    assert conflicts(received) == 1
    assert received.intake.accept_file(sent) is IntakeOutcome.DUPLICATE
    assert conflicts(received) == 0
    assert store(received.port, dcmread(held)).Status == 0x0000
