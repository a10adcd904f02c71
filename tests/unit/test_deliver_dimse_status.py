"""What a C-STORE status means for us: stored, try again, or give up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.deliver.dimse_status import MEANINGS, meaning_of


@pytest.mark.parametrize("status", [0x0000, 0x0111, 0xB000, 0xB006, 0xB007])
def test_success_and_warnings_mean_that_it_is_stored(status: int) -> None:
    assert meaning_of(status).accepted


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0213, 0xFE00])
def test_what_may_pass_is_tried_again(status: int) -> None:
    meaning = meaning_of(status)
    assert not meaning.accepted
    assert not meaning.permanent


@pytest.mark.parametrize("status", [0xA800, 0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x0122, 0x0117])
def test_what_the_bytes_are_to_blame_for_is_given_up(status: int) -> None:
    meaning = meaning_of(status)
    assert not meaning.accepted
    assert meaning.permanent


@given(st.integers(0, 0xFFFF))
def test_every_status_has_one_meaning_and_every_failure_a_sentence(status: int) -> None:
    assert sum(item.first <= status <= item.last for item in MEANINGS) <= 1
    meaning = meaning_of(status)
    assert meaning.sentence or status == 0x0000
    assert not (meaning.accepted and meaning.permanent)
