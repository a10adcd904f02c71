"""Values in words, as the pages write them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from builders import NOON, STUDY_UID, later, make_result
from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.api.browser_guards import host_name
from oncopixel_pacs.api.rendering import (
    ago,
    duration,
    ending,
    finding_count,
    load_pages,
    moment,
    percent,
    size,
    sop_class_name,
    tone,
    views,
)
from oncopixel_pacs.api.upload_schemas import UploadStudyAnswer
from oncopixel_pacs.domain import (
    DeliveryState,
    Job,
    JobState,
    Reason,
    StepState,
    Study,
    StudyState,
)
from oncopixel_pacs.domain.briefs import JobBrief


def test_a_moment_is_utc_and_marked_up() -> None:
    assert str(moment(NOON)) == (
        '<time datetime="2025-03-01T12:00:00+00:00">2025-03-01 12:00:00</time>'
    )
    assert moment(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s ago"), (59, "59 s ago"), (119, "1 min ago"), (7300, "2 h ago"), (200000, "2 d ago")],
)
def test_how_long_ago(seconds: float, words: str) -> None:
    assert ago(NOON, later(seconds)) == words


def test_a_clock_that_jumped_back_gives_no_negative_time() -> None:
    assert ago(NOON, NOON - timedelta(seconds=5)) == "0 s ago"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (0.417, "0.42 s"),
        (12.34, "12.3 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(12, "12 B"), (2048, "2.0 KiB"), (8784532, "8.4 MiB")]
)
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words


def test_probabilities_are_percentages() -> None:
    assert (percent(0.8349), percent(0.0), percent(None)) == ("83.5%", "0.0%", "–")


def test_sop_classes_have_names_and_unknown_ones_their_uid() -> None:
    assert sop_class_name("1.2.840.10008.5.1.4.1.1.66.4") == "Segmentation Storage"
    assert sop_class_name("1.2.840.10008.5.1.4.1.1.66.7") == "Label Map Segmentation Storage"
    assert sop_class_name("1.2.3.4") == "1.2.3.4"


def test_a_long_uid_is_known_by_its_end() -> None:
    assert ending("1.2.840.113619.2.66.2158408118") == "…2.66.2158408118"
    assert ending("1.2.3") == "1.2.3"


def test_views_that_repeat_are_counted() -> None:
    assert views(["R CC", "L CC", "R CC"]) == "R CC ×2, L CC"


def test_a_job_without_an_analysed_image_has_no_finding_count() -> None:
    job = Job("id", STUDY_UID, 1, "digest", JobState.DONE, (), NOON)
    read = replace(job, result=make_result())
    unread = replace(job, result=make_result(reason=Reason.NO_VIEW))
    assert [finding_count(item and JobBrief.of(item)) for item in (None, job, unread, read)] == [
        "–",
        "–",
        "–",
        "1",
    ]


@pytest.mark.parametrize(
    ("state", "waiting_for", "error", "reason"),
    [
        (JobState.QUEUED, "a free model process", "", "Waits for a free model process."),
        (JobState.DELIVERING, "destination pacs", "", "Waits for destination pacs."),
        (JobState.ANALYSING, "", "", ""),
        (JobState.FAILED, "", "The model failed.", "The model failed."),
    ],
)
def test_the_reason_of_an_uploaded_study_is_a_sentence(
    state: JobState, waiting_for: str, error: str, reason: str
) -> None:
    study = Study(STUDY_UID, StudyState.SETTLED, 1, (), NOON, NOON)
    job = Job("id", STUDY_UID, 1, "d", state, (), NOON, waiting_for=waiting_for, error=error)
    assert UploadStudyAnswer.of(study, job).reason == reason


@pytest.mark.parametrize("states", [JobState, DeliveryState, StepState, StudyState])
def test_every_state_that_is_under_way_or_bad_has_a_colour(
    states: type[JobState] | type[DeliveryState] | type[StepState] | type[StudyState],
) -> None:
    assert [state for state in states if tone(state) == "plain"] in ([], [StudyState.SETTLED])


@given(st.text())
def test_whatever_a_name_holds_it_adds_no_markup(name: str) -> None:
    template = load_pages("1", tuple).environment.from_string("<i>{{ name }}</i>")
    shown = template.render(name=name)
    assert shown.count("<") == 2
    assert shown.count(">") == 2


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("LocalHost", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[0:0:0:0:0:0:0:1]:80", "::1"),
        ("[localhost]", ""),
        ("[::1", ""),
        ("127.0.0.1:80@evil.example", ""),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


@given(st.text())
def test_no_other_host_header_passes_for_loopback(header: str) -> None:
    if host_name(header) in {"127.0.0.1", "localhost", "::1"}:
        name = header.lower()
        assert name.startswith(("127.0.0.1", "localhost", "["))
        assert "@" not in name
