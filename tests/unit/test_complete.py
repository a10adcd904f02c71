"""When is a study complete? Properties of the rule, and its three ways to settle."""

from __future__ import annotations

from datetime import timedelta

import pytest
from builders import NOON, judged, later, make_instance, make_study
from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.domain import Study
from oncopixel_pacs.settings import CompletionSettings

SETTINGS = CompletionSettings(quiet_seconds=60, settle_seconds=5, max_wait_seconds=600)
SECONDS = st.floats(0, 5000, allow_nan=False)

rules = st.builds(
    CompletionSettings,
    quiet_seconds=SECONDS,
    settle_seconds=SECONDS,
    max_wait_seconds=st.floats(0.001, 5000),
    expected_views=st.sampled_from([(), ("R CC",), ("R CC", "L CC", "R MLO", "L MLO")]),
)
studies = st.lists(st.tuples(st.integers(1, 4), SECONDS), min_size=1, max_size=6).map(
    lambda images: make_study(*(make_instance(n, received_at=later(at)) for n, at in images))
)


def study_of(*numbers: int, last: float = 0) -> Study:
    held = [make_instance(number) for number in numbers[:-1]]
    return make_study(*held, make_instance(numbers[-1], received_at=later(last)))


def test_a_study_with_every_view_settles_soon() -> None:
    study = study_of(1, 2, 3, 4)
    assert not judged(study, NOON, later(4.9), SETTINGS).complete
    assert judged(study, NOON, later(5), SETTINGS).complete


def test_a_study_that_lacks_a_view_waits_for_quiet() -> None:
    study = study_of(1, 2, 3)
    assert not judged(study, NOON, later(59.9), SETTINGS).complete
    assert judged(study, NOON, later(60), SETTINGS).complete


def test_a_trickling_sender_cannot_hold_a_study_up_for_ever() -> None:
    study = study_of(1, 2, last=595)
    assert not judged(study, NOON, later(599.9), SETTINGS).complete
    assert judged(study, NOON, later(600), SETTINGS).complete


def test_without_expected_views_only_quiet_counts() -> None:
    settings = SETTINGS.model_copy(update={"expected_views": ()})
    verdict = judged(study_of(1), NOON, later(59), settings)
    assert (verdict.complete, verdict.waiting_for) == (False, "quiet until 12:01:00 UTC")


@pytest.mark.parametrize(
    ("study", "settings", "sentence"),
    [
        (study_of(1, 2, 3), SETTINGS, "views L MLO, or quiet until 12:01:00 UTC"),
        (study_of(1, 2), SETTINGS, "views R MLO, L MLO, or quiet until 12:01:00 UTC"),
        (study_of(1, 2, 3, 4), SETTINGS, "quiet until 12:00:05 UTC (every view is there)"),
        (
            study_of(1, 2, 3, 4),
            CompletionSettings(quiet_seconds=3, settle_seconds=5),
            "quiet until 12:00:03 UTC (every view is there)",
        ),
        (
            study_of(1, 2, 3),
            CompletionSettings(quiet_seconds=60, max_wait_seconds=30),
            "views L MLO, or quiet until 12:00:30 UTC",
        ),
    ],
)
def test_a_waiting_study_says_for_what(
    study: Study, settings: CompletionSettings, sentence: str
) -> None:
    assert judged(study, NOON, NOON, settings).waiting_for == sentence


@given(studies, rules, SECONDS)
def test_every_verdict_says_what_it_waits_for_or_that_it_waits_no_more(
    study: Study, settings: CompletionSettings, after: float
) -> None:
    verdict = judged(study, study.first_received_at, later(after), settings)
    assert verdict.complete == (not verdict.waiting_for)


@given(studies, rules, SECONDS)
def test_a_study_is_never_complete_while_images_still_come(
    study: Study, settings: CompletionSettings, after: float
) -> None:
    now = later(after)
    quiet = (now - study.last_received_at).total_seconds()
    waited = (now - study.first_received_at).total_seconds()
    if quiet < min(settings.quiet_seconds, settings.settle_seconds) - 1e-5:
        settled = judged(study, study.first_received_at, now, settings).complete
        assert settled <= (waited >= settings.max_wait_seconds - 1e-5)


@given(studies, rules, SECONDS)
def test_a_study_is_always_complete_at_the_longest_wait(
    study: Study, settings: CompletionSettings, beyond: float
) -> None:
    longest = timedelta(seconds=settings.max_wait_seconds + beyond + 1e-5)
    since = study.first_received_at
    assert judged(study, since, since + longest, settings).complete


@given(studies, rules, SECONDS, SECONDS)
def test_a_complete_study_stays_complete(
    study: Study, settings: CompletionSettings, after: float, more: float
) -> None:
    earlier = judged(study, study.first_received_at, later(after), settings)
    afterwards = judged(study, study.first_received_at, later(after + more), settings)
    assert earlier.complete <= afterwards.complete


@given(studies, SECONDS, SECONDS)
def test_a_view_that_arrives_never_makes_a_study_wait_longer(
    study: Study, after: float, settle: float
) -> None:
    settings = CompletionSettings(quiet_seconds=100, settle_seconds=settle)
    last = study.last_received_at
    fuller = make_study(
        *study.instances, *(make_instance(number, received_at=last) for number in (1, 2, 3, 4))
    )
    now = later(after)
    assert (
        judged(study, NOON, now, settings).complete <= judged(fuller, NOON, now, settings).complete
    )
