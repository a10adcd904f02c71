"""Waits between attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.workflow.backoff import wait_seconds

SECONDS = st.floats(0.001, 1e7)


def longest(_low: float, high: float) -> float:
    return high


def test_each_wait_is_twice_the_last_up_to_the_longest() -> None:
    waits = [wait_seconds(number, 2.0, 300.0, longest) for number in range(1, 11)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(failures=st.integers(-5, 10**9), first=SECONDS, cap=SECONDS)
def test_no_wait_is_longer_than_the_longest_or_shorter_than_half_of_it(
    failures: int, first: float, cap: float
) -> None:
    wanted = wait_seconds(failures, first, cap, longest)
    assert wanted / 2 <= wait_seconds(failures, first, cap) <= wanted <= cap


def test_what_failed_together_does_not_come_back_together() -> None:
    assert len({wait_seconds(3, 2.0, 300.0) for _ in range(20)}) > 10
