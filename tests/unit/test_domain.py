"""The values that the product talks about."""

from __future__ import annotations

import pytest
from builders import make_facts, make_finding, make_image_result, make_result

from oncopixel_pacs.domain import JobState, Laterality, Reason, View


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_one_sentence(reason: Reason) -> None:
    assert reason.sentence.endswith(".")
    assert reason.sentence[0].isupper()
    assert "\n" not in reason.sentence


def test_no_two_reasons_say_the_same() -> None:
    assert len({reason.sentence for reason in Reason}) == len(Reason)


@pytest.mark.parametrize(
    ("laterality", "view", "name"),
    [
        (Laterality.RIGHT, View.MLO, "R MLO"),
        (Laterality.LEFT, View.CC, "L CC"),
        (None, View.CC, "? CC"),
        (Laterality.LEFT, None, "L ?"),
        (None, None, "? ?"),
    ],
)
def test_an_image_is_named_by_breast_and_view(
    laterality: Laterality | None, view: View | None, name: str
) -> None:
    assert make_facts(laterality=laterality, view=view).name == name


def test_a_job_is_over_only_when_a_person_must_act_or_nothing_is_left() -> None:
    over = {state for state in JobState if state.final}
    assert over == {
        JobState.DONE,
        JobState.NOT_ANALYSED,
        JobState.FAILED,
        JobState.CANCELLED,
    }


def test_an_image_with_a_reason_was_not_analysed() -> None:
    assert make_image_result(make_facts()).analysed
    assert not make_image_result(make_facts(), Reason.NO_BREAST).analysed


def test_findings_of_a_study_come_with_their_image() -> None:
    result = make_result([make_facts(1), make_facts(2)])
    assert [(image.facts.name, found) for image, found in result.findings] == [
        ("R CC", make_finding()),
        ("L CC", make_finding()),
    ]
