"""Which of several models read a study: rules of the site, requirements, and the order."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from builders import make_facts
from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.domain import ImageFacts, ModelMode, ModelTask, Reason, View
from oncopixel_pacs.domain.model_choice import Candidate
from oncopixel_pacs.domain.requirements import Requirements
from oncopixel_pacs.domain.rules import Origin, Rule
from oncopixel_pacs.route import route

FACTS = make_facts(
    body_part="BREAST",
    manufacturer="ACME Imaging",
    station_name="ROOM1",
    series_description="R CC screening",
)
ORIGIN = Origin("MAMMO1", "ONCOPIXEL")

#: A rule that fits the image above, one that does not, and what is said of the image then.
CONDITIONS: list[tuple[str, str, str, str]] = [
    ("modalities", "mg", "MR", "Modality is MG"),
    ("sop_class_uids", FACTS.sop_class_uid, "1.2.3", f"SOP class is {FACTS.sop_class_uid}"),
    ("body_parts", "Breast", "CHEST", "Body part is BREAST"),
    ("calling_ae_titles", "MAMMO1", "MAMMO", "Calling AE title is MAMMO1"),
    ("called_ae_titles", "ONCOPIXEL", "TRIAL", "Called AE title is ONCOPIXEL"),
    ("manufacturers", "acme", "Imaging", "Manufacturer is ACME Imaging"),
    ("station_names", "room1", "ROOM", "Station name is ROOM1"),
    ("series_descriptions", "Screening", "biopsy", "Series description is R CC screening"),
]


def segmenter(name: str, rule: Rule = Rule(), **requirements: Any) -> Candidate:  # noqa: B008
    return Candidate(name, ModelTask.SEGMENT, rule, Requirements(**requirements))


def runs(candidates: list[Candidate], *images: ImageFacts, origin: Origin = ORIGIN) -> list[Any]:
    """Names of the models that run on each image."""
    said = route([(facts, origin) for facts in images], candidates)
    return [[item.model for item in verdicts if item.reason is None] for verdicts in said]


def test_every_condition_of_a_rule_is_tried_here() -> None:
    assert [name for name, *_ in CONDITIONS] == [item.name for item in fields(Rule)]


@pytest.mark.parametrize(("condition", "fits", "differs", "words"), CONDITIONS)
def test_a_condition_lets_in_what_it_names_and_says_what_it_leaves_out(
    condition: str, fits: str, differs: str, words: str
) -> None:
    for asked in ((fits,), (differs, fits)):
        assert Rule(**{condition: asked}).objection(FACTS, ORIGIN) == ""
    said = Rule(**{condition: (differs,)}).objection(FACTS, ORIGIN)
    assert said == f"{words}; the rule asks for {differs}."


@pytest.mark.parametrize("condition", [name for name, *_ in CONDITIONS])
def test_what_is_not_known_of_an_image_fits_no_condition(condition: str) -> None:
    bare = replace(
        FACTS,
        modality="",
        sop_class_uid="",
        body_part="",
        manufacturer="",
        station_name="",
        series_description="",
    )
    said = Rule(**{condition: ("X",)}).objection(bare, Origin())
    assert "is not known; the rule asks for X." in said


@given(
    st.fixed_dictionaries(
        {name: st.sampled_from(((), (fits,), (differs,))) for name, fits, differs, _ in CONDITIONS}
    )
)
def test_a_rule_fits_when_each_of_its_conditions_does(chosen: dict[str, tuple[str, ...]]) -> None:
    alone = [Rule(**{name: asked}).objection(FACTS, ORIGIN) for name, asked in chosen.items()]
    assert bool(Rule(**chosen).objection(FACTS, ORIGIN)) == any(alone)
    assert len(Rule(**chosen).conditions) == sum(map(bool, chosen.values()))


def test_values_are_compared_and_never_evaluated() -> None:
    for text in (".*", "MG|MR", "True", "__import__('os')", "%"):
        assert Rule(modalities=(text,)).objection(FACTS, ORIGIN)


def test_of_two_models_with_a_task_the_first_that_fits_reads_the_study() -> None:
    trial = segmenter("trial", Rule(called_ae_titles=("TRIAL",)))
    usual = segmenter("usual")
    assert runs([trial, usual], FACTS, origin=Origin("A", "TRIAL")) == [["trial"]]
    assert runs([trial, usual], FACTS) == [["usual"]]
    assert runs([usual, trial], FACTS, origin=Origin("A", "TRIAL")) == [["usual"]]


def test_the_model_that_is_passed_over_says_for_whom() -> None:
    said = route([(FACTS, ORIGIN)], [segmenter("first"), segmenter("second")])[0]
    assert (said[1].reason, said[1].detail) == (Reason.ANOTHER_MODEL, "first stands before it.")


def test_a_shadow_stands_before_no_model_and_none_before_it() -> None:
    shadow = replace(segmenter("shadow"), mode=ModelMode.SHADOW)
    ruled = replace(shadow, name="ruled", rule=Rule(called_ae_titles=("TRIAL",)))
    models = [shadow, ruled, segmenter("active")]
    assert runs(models, FACTS) == [["shadow", "active"]]
    assert runs(models, FACTS, origin=Origin("A", "TRIAL")) == [["shadow", "ruled", "active"]]


def test_one_model_reads_a_study_even_where_another_would_fill_its_gaps() -> None:
    cc = segmenter("cc", views=(View.CC,))
    both = segmenter("both")
    images = (make_facts(1), make_facts(3))
    assert [item.view for item in images] == [View.CC, View.MLO]
    assert runs([cc, both], *images) == [["cc"], []]
    reasons = [item.reason for item in route([(i, ORIGIN) for i in images], [cc, both])[1]]
    assert reasons == [Reason.MODEL_VIEW, Reason.ANOTHER_MODEL]


def test_a_classifier_and_a_segmenter_are_chosen_apart() -> None:
    classifier = Candidate("score", ModelTask.CLASSIFY, Rule(modalities=("MR",)))
    assert runs([classifier, segmenter("mask")], FACTS) == [["mask"]]


def test_what_no_model_can_read_is_said_before_any_rule() -> None:
    odd = make_facts(implant=True)
    (said,) = route([(odd, ORIGIN)], [segmenter("mask", Rule(modalities=("MR",)))])[0]
    assert said.reason is Reason.BREAST_IMPLANT
