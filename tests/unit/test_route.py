"""Which images the models read, and why not the others."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from builders import VIEWS, make_facts
from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.domain import Laterality, ModelTask, Reason, Subject, View
from oncopixel_pacs.domain.facts import says_nothing_new
from oncopixel_pacs.domain.model_choice import Candidate
from oncopixel_pacs.domain.requirements import Requirements
from oncopixel_pacs.domain.rules import Origin
from oncopixel_pacs.route import route, why_not, why_not_in_study

TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MULTI_FRAME_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.2"
#: Known only once the pixels are decoded.
BY_PIXELS = {Reason.UNREADABLE_PIXELS, Reason.BLANK, Reason.NO_BREAST, Reason.NOT_A_BREAST}
#: Asked by one model and not by all.
BY_MODEL = {reason for reason in Reason if reason.startswith("model-")} | {Reason.BURNED_IN}

#: What makes a readable image unreadable, and the reason that says so.
FLAWS: list[tuple[dict[str, Any], Reason]] = [
    ({"sop_class_uid": TOMOSYNTHESIS, "frames": 60}, Reason.TOMOSYNTHESIS),
    ({"sop_class_uid": FOR_PROCESSING}, Reason.FOR_PROCESSING),
    ({"presentation_intent": "FOR PROCESSING"}, Reason.FOR_PROCESSING),
    ({"modality": "CR"}, Reason.NOT_MAMMOGRAPHY),
    ({"modality": "DX", "presentation_intent": "FOR PROCESSING"}, Reason.NOT_MAMMOGRAPHY),
    ({"sop_class_uid": MULTI_FRAME_CAPTURE}, Reason.NOT_MAMMOGRAPHY),
    ({"sop_class_uid": SECONDARY_CAPTURE, "modality": "OT"}, Reason.NOT_MAMMOGRAPHY),
    ({"has_pixel_data": False}, Reason.NO_PIXEL_DATA),
    ({"frames": 2}, Reason.MULTI_FRAME),
    ({"samples_per_pixel": 3}, Reason.NOT_MONOCHROME),
    ({"photometric": "PALETTE COLOR"}, Reason.NOT_MONOCHROME),
    ({"photometric": ""}, Reason.NOT_MONOCHROME),
    ({"quality_control": True}, Reason.QUALITY_CONTROL),
    ({"stereotactic": True}, Reason.STEREOTACTIC),
    ({"projection": True}, Reason.PROJECTION),
    ({"contrast": True}, Reason.CONTRAST),
    # No twin For Presentation is to be had from the unit.
    ({"contrast": True, "presentation_intent": "FOR PROCESSING"}, Reason.CONTRAST),
    ({"laterality": None}, Reason.NO_LATERALITY),
    ({"view": None}, Reason.NO_VIEW),
    ({"view": View.OTHER}, Reason.UNSUPPORTED_VIEW),
    ({"view_modifiers": ("Magnification",)}, Reason.VIEW_MODIFIER),
    ({"partial_view": True}, Reason.PARTIAL_VIEW),
    ({"implant": True}, Reason.BREAST_IMPLANT),
    ({"turned": True}, Reason.TURNED),
    ({"spacing_mm": None}, Reason.NO_PIXEL_SPACING),
]


@pytest.mark.parametrize(("laterality", "view"), VIEWS)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("intent", ["FOR PRESENTATION", ""])
def test_a_screening_view_is_read(
    laterality: Laterality, view: View, photometric: str, intent: str
) -> None:
    facts = make_facts(
        laterality=laterality, view=view, photometric=photometric, presentation_intent=intent
    )
    assert why_not(facts) is None


@pytest.mark.parametrize(("flaw", "reason"), FLAWS)
def test_one_flaw_is_named(flaw: dict[str, Any], reason: Reason) -> None:
    assert why_not(make_facts(**flaw)) is reason


KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"


def test_a_rejected_image_is_left_out_whenever_its_note_came() -> None:
    wrong, right = make_facts(1, patient_digest="a"), make_facts(2, patient_digest="b")
    note = make_facts(
        3, sop_class_uid=KEY_OBJECTS, modality="KO", rejects=(wrong.sop_instance_uid,)
    )
    for held in permutations((wrong, right, note)):
        reasons = dict(zip(held, why_not_in_study(held), strict=True))
        assert reasons[wrong] is Reason.REJECTED
        # Nor does it count as an image of another patient.
        assert reasons[right] is None


@pytest.mark.parametrize(("rejects", "nothing"), [(("1",), False), (("9",), True), ((), True)])
def test_only_notes_on_images_that_are_held_say_something_new(
    rejects: tuple[str, ...], nothing: bool
) -> None:
    image = replace(make_facts(1), sop_instance_uid="1")
    note = make_facts(3, sop_class_uid=KEY_OBJECTS, rejects=rejects)
    late = {note.sop_instance_uid}
    assert says_nothing_new([image, note], late) is nothing
    # The same once more changes nothing; an image always does.
    again = replace(note, sop_instance_uid="4")
    assert says_nothing_new([image, note, again], {"4"})
    assert not says_nothing_new([image, note], {"1"})
    assert not says_nothing_new([image, note], ())


@pytest.mark.parametrize(
    "telling",
    [{"view_modifiers": ("Implant Displaced",), "implant_displaced": True}, {"implant": True}],
    ids=["displaced", "stated"],
)
def test_an_implant_that_one_image_tells_of_is_in_the_other_images_of_that_breast(
    telling: dict[str, Any],
) -> None:
    """Breast Implant Present is optional: the whole views of an Eklund study may say nothing."""
    whole, other = make_facts(1), make_facts(2, laterality=Laterality.LEFT)
    eklund = make_facts(3, **telling)
    for held in permutations((whole, other, eklund)):
        reasons = dict(zip(held, why_not_in_study(held), strict=True))
        assert reasons[whole] is Reason.BREAST_IMPLANT
        assert reasons[other] is None
    note = make_facts(
        4, sop_class_uid=KEY_OBJECTS, modality="KO", rejects=(eklund.sop_instance_uid,)
    )
    assert why_not_in_study([whole, eklund, note])[0] is None


def test_every_reason_that_a_header_can_give_is_reached() -> None:
    assert {reason for _, reason in FLAWS} == set(Reason) - BY_PIXELS - BY_MODEL - {
        Reason.ANALYSIS_FAILED,
        Reason.SEVERAL_PATIENTS,
        Reason.REJECTED,
    }


def test_images_of_different_patients_under_one_study_are_not_read() -> None:
    anna, berta = make_facts(1, patient_digest="a"), make_facts(2, patient_digest="b")
    assert why_not_in_study([anna, berta]) == (Reason.SEVERAL_PATIENTS,) * 2
    tomosynthesis = replace(berta, sop_class_uid=TOMOSYNTHESIS)
    assert why_not_in_study([anna, tomosynthesis]) == (Reason.SEVERAL_PATIENTS,) * 2


def test_an_image_without_patient_id_contradicts_nobody() -> None:
    anna, nobody = make_facts(1, patient_digest="a"), make_facts(2)
    assert why_not_in_study([anna, nobody, replace(anna, modality="CR")]) == (
        None,
        None,
        Reason.NOT_MAMMOGRAPHY,
    )


@pytest.mark.parametrize("subject", list(Subject))
def test_no_model_of_any_kind_reads_images_of_different_patients(subject: Subject) -> None:
    images = [(make_facts(number, patient_digest=str(number)), Origin()) for number in (1, 2)]
    said = route(images, [Candidate("any", ModelTask.CLASSIFY, subject=subject)])
    assert {item.reason for image in said for item in image} == {Reason.SEVERAL_PATIENTS}


@given(st.lists(st.sampled_from(FLAWS), min_size=1, max_size=5))
def test_an_image_with_flaws_is_never_read_and_names_one_of_them(
    flaws: list[tuple[dict[str, Any], Reason]],
) -> None:
    facts = make_facts()
    for flaw, _ in flaws:
        facts = replace(facts, **flaw)
    assert why_not(facts) in {reason for _, reason in FLAWS}


def test_a_tomosynthesis_volume_is_called_that_and_not_multi_frame() -> None:
    assert why_not(make_facts(sop_class_uid=TOMOSYNTHESIS, frames=60)) is Reason.TOMOSYNTHESIS


def test_a_digitised_film_is_read() -> None:
    film = make_facts(sop_class_uid=SECONDARY_CAPTURE, presentation_intent="")
    assert why_not(film) is None


ASKED: list[tuple[Requirements, dict[str, Any], Reason | None]] = [
    (Requirements(), {}, None),
    (Requirements(sop_class_uids=(make_facts().sop_class_uid,)), {}, None),
    (
        Requirements(sop_class_uids=(make_facts().sop_class_uid,)),
        {"sop_class_uid": SECONDARY_CAPTURE},
        Reason.MODEL_SOP_CLASS,
    ),
    (Requirements(modalities=("MG",)), {}, None),
    (Requirements(modalities=("MR",)), {}, Reason.MODEL_MODALITY),
    (Requirements(), {"burned_in": True}, Reason.BURNED_IN),
    (Requirements(burned_in_annotation=True), {"burned_in": True}, None),
    (Requirements(views=(View.CC,)), {}, None),
    (Requirements(views=(View.MLO,)), {}, Reason.MODEL_VIEW),
    (Requirements(views=(View.MLO,)), {"view": None}, Reason.MODEL_VIEW),
    (Requirements(lateralities=(Laterality.RIGHT,)), {}, None),
    (Requirements(lateralities=(Laterality.LEFT,)), {}, Reason.MODEL_LATERALITY),
    (Requirements(manufacturers=("acme",)), {"manufacturer": "ACME Inc."}, None),
    (Requirements(manufacturers=("Other",)), {}, Reason.MODEL_MANUFACTURER),
    (Requirements(manufacturers=("Other",)), {"manufacturer": ""}, Reason.MODEL_MANUFACTURER),
    (Requirements(pixel_size_mm=(0.05, 0.1)), {}, None),
    (Requirements(pixel_size_mm=(0.05, 0.09)), {}, Reason.MODEL_PIXEL_SIZE),
    (
        Requirements(pixel_size_mm=(0.05, 0.2)),
        {"spacing_mm": (0.04, 0.1)},
        Reason.MODEL_PIXEL_SIZE,
    ),
]


@pytest.mark.parametrize(("asked", "changes", "reason"), ASKED)
def test_a_model_may_ask_for_more(
    asked: Requirements, changes: dict[str, Any], reason: Reason | None
) -> None:
    refused = asked.why_not(make_facts(**changes))
    assert (refused and refused[0]) == reason
    assert refused is None or refused[1] or reason is Reason.BURNED_IN


def test_every_reason_of_a_model_is_reached() -> None:
    # The other two are for the choice among models, not for one model's requirements.
    of_requirements = BY_MODEL - {Reason.MODEL_RULE, Reason.ANOTHER_MODEL}
    assert {reason for *_, reason in ASKED} - {None} == of_requirements
