"""Label maps come back as they were written; what is no label map is said to be none."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.errors import AnalysisFailed
from oncopixel_pacs.infer.label_maps import (
    label_map_path,
    read_label_map,
    remove_label_map,
    write_label_map,
)

UID = "1.2.840.1"


def some_labels() -> np.ndarray:
    labels = np.zeros((30, 20), dtype=np.uint8)
    labels[3:7, 4:9] = 2
    return labels


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_label_map(tmp_path / "new" / "labels", UID, some_labels())
    assert path == label_map_path(tmp_path / "new" / "labels", UID)
    read = read_label_map(tmp_path / "new" / "labels", UID)
    assert read is not None
    np.testing.assert_array_equal(read, some_labels())


def test_an_image_without_findings_has_none(tmp_path: Path) -> None:
    assert read_label_map(tmp_path, UID) is None
    write_label_map(tmp_path, UID, some_labels())
    remove_label_map(tmp_path, UID)
    assert read_label_map(tmp_path, UID) is None


def test_no_uid_leads_out_of_the_folder(tmp_path: Path) -> None:
    assert label_map_path(tmp_path, "../../etc/passwd").parent == tmp_path


def test_a_failed_write_leaves_the_earlier_map_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_label_map(tmp_path, UID, some_labels())

    def full(*_args: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        write_label_map(tmp_path, UID, np.ones((30, 20), dtype=np.uint8))
    read = read_label_map(tmp_path, UID)
    assert read is not None
    np.testing.assert_array_equal(read, some_labels())
    assert list(tmp_path.iterdir()) == [label_map_path(tmp_path, UID)]


def test_a_map_of_the_whole_image_as_earlier_versions_wrote_it_is_read(tmp_path: Path) -> None:
    np.savez_compressed(label_map_path(tmp_path, UID), labels=some_labels())
    read = read_label_map(tmp_path, UID)
    assert read is not None
    np.testing.assert_array_equal(read, some_labels())


def test_only_the_window_with_findings_is_kept(tmp_path: Path) -> None:
    with np.load(write_label_map(tmp_path, UID, some_labels())) as archive:
        assert archive["labels"].shape == (4, 5)


def test_a_map_without_any_label_comes_back_empty(tmp_path: Path) -> None:
    write_label_map(tmp_path, UID, np.zeros((30, 20), dtype=np.uint8))
    read = read_label_map(tmp_path, UID)
    assert read is not None
    assert read.shape == (30, 20)
    assert not read.any()


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def not_an_archive(path: Path) -> None:
    path.write_text("labels")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def bare_array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, some_labels())


def other_key(path: Path) -> None:
    np.savez(path, other=some_labels())


def pickled(path: Path) -> None:
    np.savez(path, labels=np.array([object], dtype=object))


def wrong_type(path: Path) -> None:
    np.savez(path, labels=some_labels().astype(float))


def beyond_the_image(path: Path) -> None:
    np.savez(path, labels=some_labels(), origin=(1, 0), shape=(30, 20))


def of_three_axes(path: Path) -> None:
    np.savez(path, labels=some_labels()[None], origin=(0, 0), shape=(30, 20))


@pytest.mark.parametrize(
    "spoil",
    [
        broken,
        not_an_archive,
        empty,
        bare_array,
        other_key,
        pickled,
        wrong_type,
        beyond_the_image,
        of_three_axes,
    ],
)
def test_a_spoiled_label_map_is_said_to_be_one(spoil: object, tmp_path: Path) -> None:
    assert callable(spoil)
    spoil(write_label_map(tmp_path, UID, some_labels()))
    with pytest.raises(AnalysisFailed, match="analyse the study again"):
        read_label_map(tmp_path, UID)


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1))
def test_whatever_bytes_are_bent_it_is_a_label_map_or_none(bent: list[tuple[float, int]]) -> None:
    with TemporaryDirectory() as folder:
        path = write_label_map(Path(folder), UID, some_labels())
        content = bytearray(path.read_bytes())
        for place, value in bent:
            content[int(place * len(content))] = value
        path.write_bytes(content)
        try:
            read = read_label_map(Path(folder), UID)
        except AnalysisFailed:
            return
        assert read is not None
        assert read.dtype == np.uint8


def test_a_disk_that_does_not_give_it_is_not_taken_for_a_spoiled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_label_map(tmp_path, UID, some_labels())

    def fail(_: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error"):
        read_label_map(tmp_path, UID)
