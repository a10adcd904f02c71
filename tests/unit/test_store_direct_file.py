"""Files past the page cache, on disks that can do that and on those that cannot."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oncopixel_pacs.store.direct_file import BLOCK_BYTES, CHUNK_BYTES, ChunkPool, DirectFile


def written(folder: Path, length: int) -> tuple[bytes, bytes]:
    """Content of a file of some length, as it was meant and as it is."""
    content = os.urandom(length)
    chunk = ChunkPool().take()
    file = DirectFile(folder, ".part")
    for begin in range(0, length - length % CHUNK_BYTES, CHUNK_BYTES):
        chunk[:] = content[begin : begin + CHUNK_BYTES]
        file.append(chunk)
    rest = length % CHUNK_BYTES
    chunk[:rest] = content[length - rest :]
    file.finish(chunk[:rest])
    file.close()
    return content, file.path.read_bytes()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.one_of(
        st.integers(0, 3 * CHUNK_BYTES),
        st.sampled_from([0, 1, BLOCK_BYTES, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1]),
    )
)
def test_a_file_of_any_length_holds_what_was_written(tmp_path: Path, length: int) -> None:
    content, held = written(tmp_path, length)
    assert held == content


@pytest.mark.parametrize("refused_at", ["fcntl", "write"])
def test_a_disk_that_knows_the_page_cache_alone_takes_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused_at: str
) -> None:
    real_control, real_write = fcntl.fcntl, os.write
    refused: list[str] = []

    def limited_control(descriptor: int, command: int, argument: int = 0) -> int:
        if refused_at == "fcntl" and argument & os.O_DIRECT:
            refused.append("fcntl")
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real_control(descriptor, command, argument)

    def limited_write(descriptor: int, content: Any) -> int:
        if refused_at == "write" and not refused:
            refused.append("write")
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real_write(descriptor, content)

    monkeypatch.setattr(fcntl, "fcntl", limited_control)
    monkeypatch.setattr(os, "write", limited_write)
    content, held = written(tmp_path, CHUNK_BYTES + 5000)
    assert held == content
    assert refused == [refused_at]


@pytest.mark.parametrize(("length", "past"), [(5000, 0), (1 << 20, 1), (CHUNK_BYTES + 5000, 1)])
def test_only_what_is_large_goes_past_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, past: int
) -> None:
    real, seen = fcntl.fcntl, []

    def watched(descriptor: int, command: int, argument: int = 0) -> int:
        seen.append(argument & os.O_DIRECT)
        return real(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", watched)
    content, held = written(tmp_path, length)
    assert held == content
    assert sum(flag > 0 for flag in seen) == past


def test_a_write_that_takes_half_goes_on_with_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: real(fd, bytes(content)[:1000]))
    monkeypatch.setattr("oncopixel_pacs.store.direct_file._DIRECT", 0)
    content, held = written(tmp_path, 10_000)
    assert held == content


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path, 10)


def test_buffers_are_used_again() -> None:
    pool = ChunkPool(most_idle=1)
    first, second = pool.take(), pool.take()
    pool.give_back(first)
    pool.give_back(second)
    assert pool.take() is first
    assert pool.take() is not second
