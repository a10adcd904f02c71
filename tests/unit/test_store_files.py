"""Files: whole and durable under a name that no one outside can choose."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oncopixel_pacs.store.files import FileStore, fetch_ahead

SHA = hashlib.sha256(b"bytes").hexdigest()


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "data")


def received(files: FileStore, content: bytes = b"bytes", name: str = "one.part") -> Path:
    temp = files.incoming / name
    temp.write_bytes(content)
    return temp


def calls_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Record what is synced and renamed, in order."""
    calls: list[tuple[str, Path]] = []
    sync, rename = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        sync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        calls.append(("rename", Path(target)))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    return calls


def test_bytes_then_name_then_folder_are_made_durable(
    files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    temp = received(files)
    calls = calls_of(monkeypatch)
    target = files.absolute(files.keep(temp, "instances", "1.2.3", SHA))
    order = [call for call in calls if call[1] != files.data_dir / "instances"]
    assert order == [("fsync", temp), ("rename", target), ("fsync", target.parent)]
    assert target.read_bytes() == b"bytes"
    assert not temp.exists()


def test_a_new_folder_is_durable_before_a_file_is_in_it(
    files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(monkeypatch)
    files.keep(received(files), "results", "1.2.3", SHA)
    made = calls.index(("fsync", files.data_dir / "results"))
    assert made < [kind for kind, _ in calls].index("rename")


def test_a_folder_that_another_thread_made_is_durable_too(
    files: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have made it and not yet synced it."""
    relative = files.keep(received(files), "results", "1.2.3", SHA)
    other = FileStore(tmp_path / "data")
    calls = calls_of(monkeypatch)
    assert other.keep(received(other), "results", "1.2.3", SHA) == relative
    assert ("fsync", files.data_dir / "results") in calls


def test_the_folders_themselves_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(monkeypatch)
    FileStore(tmp_path / "data")
    folders = [tmp_path / "data", tmp_path, tmp_path / "data" / "instances"]
    assert calls == [("fsync", folder) for folder in folders]
    assert len(list((tmp_path / "data" / "instances").iterdir())) == 256


def test_keeping_the_same_object_again_changes_nothing(files: FileStore) -> None:
    first = files.keep(received(files), "instances", "1.2.3", SHA)
    assert files.keep(received(files), "instances", "1.2.3", SHA) == first
    assert list(files.stored_paths()) == [first]
    assert files.absolute(first).read_bytes() == b"bytes"


def test_other_content_under_the_same_uid_lies_beside_the_first(files: FileStore) -> None:
    first = files.keep(received(files), "instances", "1.2.3", SHA)
    # Digests that differ late: a prefix of 64 bit can be forged.
    other = SHA[:16] + "0" * 48
    second = files.keep(received(files, b"other"), "instances", "1.2.3", other)
    assert first != second
    assert files.absolute(first).read_bytes() == b"bytes"
    assert files.absolute(second).read_bytes() == b"other"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(max_size=80), st.sampled_from(["../../etc/passwd", "/etc/passwd", "", ".", "a\0b"])
    )
)
def test_a_uid_never_reaches_a_path(files: FileStore, uid: str) -> None:
    uid = uid.encode("utf-8", "replace").decode()
    relative = files.keep(received(files), "instances", uid, SHA)
    folder, first, name = Path(relative).parts
    assert folder == "instances"
    assert set(first + name.removesuffix(".dcm")) <= set("0123456789abcdef-")
    assert files.absolute(relative).resolve().is_relative_to(files.data_dir.resolve())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("fails_at", ["fsync", "rename"])
def test_a_disk_that_fails_is_reported_and_keeps_nothing(
    files: FileStore, monkeypatch: pytest.MonkeyPatch, number: int, fails_at: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    if fails_at == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        files.write(b"bytes", "results", "1.2.3")
    assert not list(files.data_dir.rglob("*.part"))
    assert not list((files.data_dir / "results").glob("*/*"))


def test_what_a_full_disk_took_in_part_is_given_back(
    files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fdopen

    def full(handle: int, mode: str) -> object:
        stream = real(handle, mode)
        stream.write(b"the first block")
        stream.close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(b"bytes", "results", "1.2.3")
    assert not list(files.data_dir.rglob("*.part"))


def is_in_memory(path: Path) -> bool:
    """Whether the page cache holds a file's first bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def can_be_forgotten(path: Path) -> bool:
    """Whether the file system lets go of what was read or written; one in memory cannot."""
    path.write_bytes(bytes(8192))
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    return not is_in_memory(path)


@pytest.mark.parametrize("in_turns", [False, True])
def test_a_received_file_leaves_no_pages_in_memory(
    files: FileStore, tmp_path: Path, in_turns: bool
) -> None:
    if not can_be_forgotten(tmp_path / "other"):
        pytest.skip("this file system is memory")
    content = os.urandom(130_000)

    def place(number: int) -> Path:
        temp = received(files, content, f"{number}.part")
        descriptor = os.open(temp, os.O_RDWR)
        try:
            return files.absolute(files.place(temp, descriptor, f"1.2.{number}", SHA))
        finally:
            os.close(descriptor)

    left: list[Path] = []
    with ThreadPoolExecutor(1) as another:
        for number in range(1, 11, 2):
            # One thread alone syncs file and folder at once, several one after the other.
            first = another.submit(place, number).result() if in_turns else place(number)
            second = place(number + 1)
            left = [path for path in (first, second) if is_in_memory(path)]
            if not left:  # the kernel takes advice: it may keep a page that is just in use
                break
    assert left == []
    assert second.read_bytes() == content


def test_written_bytes_come_with_their_digest(files: FileStore) -> None:
    path, digest = files.write(b"bytes", "results", "1.2.3")
    assert (files.absolute(path).read_bytes(), digest) == (b"bytes", SHA)


def test_many_threads_keep_the_same_object(files: FileStore) -> None:
    paths: list[str] = []

    def keep(number: int) -> None:
        temp = received(files, name=f"{number}.part")
        paths.append(files.keep(temp, "instances", "1.2.3", SHA))

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 8
    assert len(set(paths)) == 1
    assert list(files.stored_paths()) == paths[:1]


def test_stored_paths_are_those_of_whole_instances(files: FileStore) -> None:
    kept = {files.keep(received(files), "instances", f"1.2.{n}", SHA) for n in range(5)}
    received(files, name="half.part")
    files.write(b"a result", "results", "1.2.9")
    assert set(files.stored_paths()) == kept


def test_what_interrupted_transfers_left_is_swept(files: FileStore) -> None:
    kept = files.keep(received(files), "instances", "1.2.3", SHA)
    for number in range(3):
        received(files, name=f"{number}.part")
    assert files.sweep_incoming() == 3
    assert not list(files.incoming.iterdir())
    assert list(files.stored_paths()) == [kept]


def test_patient_data_is_for_the_server_alone(files: FileStore) -> None:
    path, _ = files.write(b"bytes", "results", "1.2.3")
    assert files.absolute(path).stat().st_mode & 0o077 == 0


def test_label_maps_of_two_jobs_lie_apart(files: FileStore) -> None:
    one, other = files.labels_dir("job-1"), files.labels_dir("../../job-2")
    assert one != other
    assert one == files.labels_dir("job-1")
    assert one.parent == other.parent == files.data_dir / "labels"


def test_label_maps_are_made_durable(files: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = files.labels_dir("job-1")
    calls = calls_of(monkeypatch)
    files.sync_labels("job-1")
    assert calls == [("fsync", labels), ("fsync", labels.parent), ("fsync", files.data_dir)]


def test_half_written_results_are_swept_once_they_are_old(tmp_path: Path) -> None:
    files = FileStore(tmp_path)
    old, young = tmp_path / "writing" / "old.part", tmp_path / "writing" / "young.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))

    assert files.sweep_writing() == 1

    assert not old.exists()
    assert young.exists()


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no such advice")
def test_the_system_is_asked_for_every_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in ("first", "gone", "last")]
    for file in (files[0], files[2]):
        file.write_bytes(b"image")
    asked: list[str] = []

    def advise(descriptor: int, start: int, length: int, advice: int) -> None:
        assert (start, length, advice) == (0, 0, os.POSIX_FADV_WILLNEED)
        asked.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    fetch_ahead(files)
    assert asked == [str(files[0]), str(files[2])]
