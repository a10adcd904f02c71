"""Results go to a folder: whole files, one folder per study."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from dimse_builder import STUDY, mammogram, write

from oncopixel_pacs.deliver import OutgoingObject, echo, send
from oncopixel_pacs.deliver.outcome import Outcome
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import FolderDestination


def deliver(items: list[OutgoingObject], folder: Path) -> list[Outcome]:
    target = FolderDestination(type="folder", name="folder", path=folder)
    return list(send(items, target, calling_ae_title="ONCOPIXEL", timeout_seconds=5))


def an_object(folder: Path, **attributes: Any) -> OutgoingObject:
    image = mammogram(**attributes)
    path = write(image, folder / "a.dcm")
    return OutgoingObject(image.SOPInstanceUID, image.SOPClassUID, path)


def test_an_object_lies_in_the_folder_of_its_study(tmp_path: Path) -> None:
    item = an_object(tmp_path)
    (outcome,) = deliver([item], tmp_path / "out")
    assert outcome == Outcome(item.sop_instance_uid, True, "written", "", False)
    target = tmp_path / "out" / STUDY / f"{item.sop_instance_uid}.dcm"
    assert target.read_bytes() == item.path.read_bytes()


def test_writing_it_again_changes_nothing(tmp_path: Path) -> None:
    item = an_object(tmp_path)
    assert all(outcome.accepted for outcome in deliver([item, item], tmp_path / "out"))
    assert len(list((tmp_path / "out" / STUDY).iterdir())) == 1


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_no_half_file_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    item = an_object(tmp_path)
    (tmp_path / "out" / STUDY).mkdir(parents=True)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    (outcome,) = deliver([item], tmp_path / "out")
    assert (outcome.accepted, outcome.permanent) == (False, False)
    assert "No space left" in outcome.error
    assert not list((tmp_path / "out" / STUDY).iterdir())


def test_a_folder_that_cannot_be_made_is_a_passing_failure(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DeliveryFailed, match="check that it exists") as caught:
        deliver([an_object(tmp_path)], tmp_path / "out")
    assert not caught.value.permanent


def test_an_object_cannot_choose_a_place_outside(tmp_path: Path) -> None:
    item = an_object(tmp_path)
    (outcome,) = deliver([OutgoingObject("../../x", "1.2", item.path)], tmp_path / "out")
    assert (outcome.accepted, outcome.permanent) == (False, True)
    assert not list(tmp_path.rglob("x.dcm"))


def test_echo_writes_and_leaves_nothing(tmp_path: Path) -> None:
    target = FolderDestination(type="folder", name="folder", path=tmp_path / "out")
    assert "can be written" in echo(target, calling_ae_title="A", timeout_seconds=5)
    assert not list((tmp_path / "out").iterdir())
