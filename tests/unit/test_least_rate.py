"""A body that is received has to come at some rate."""

from __future__ import annotations

import asyncio

import pytest

from oncopixel_pacs.domain.least_rate import LEAST_BYTES_PER_SECOND, LeastRate


def receive(pieces: int, size: int, pause_seconds: float, work_seconds: float = 0.0) -> None:
    """Receive a body whose pieces are so long in coming, and take so long to be written."""
    time = 0.0

    async def come() -> bytes:
        nonlocal time
        time += pause_seconds
        return bytes(size)

    async def whole() -> None:
        nonlocal time
        rate = LeastRate(30.0, lambda: time)
        for _ in range(pieces):
            await rate.piece(come())
            time += work_seconds

    asyncio.run(whole())


def test_a_body_byte_by_byte_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        receive(pieces=4, size=1, pause_seconds=10)


def test_a_slow_line_is_waited_for() -> None:
    receive(pieces=1000, size=20 * LEAST_BYTES_PER_SECOND, pause_seconds=19)


def test_a_slow_disk_of_ours_is_not_the_senders_fault() -> None:
    receive(pieces=1000, size=1, pause_seconds=0.0001, work_seconds=60)


def test_the_end_of_a_body_is_no_piece() -> None:
    receive(pieces=1, size=0, pause_seconds=60)
