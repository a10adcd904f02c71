"""Which views a study should have: a table of studies as they come, in every order."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from builders import NOON, judged, later, make_facts, make_instance, make_study
from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.complete import expected
from oncopixel_pacs.domain import ImageFacts, Laterality, Ordered, View
from oncopixel_pacs.settings import CompletionSettings

USUAL = CompletionSettings().expected_views
SETTINGS = CompletionSettings(quiet_seconds=60, settle_seconds=5, max_wait_seconds=600)
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
PROJECTIONS = "1.2.840.10008.5.1.4.1.1.13.1.4"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
R, L = Laterality.RIGHT, Laterality.LEFT


def image(name: str, number: int = 1, **changes: Any) -> ImageFacts:
    """One image by the name of its view; `number` tells images of the same view apart."""
    side, view = name.split()
    facts = make_facts(
        laterality=None if side == "?" else Laterality(side),
        view=None if view == "?" else View(view),
    )
    uid = f"1.2.{ord(side)}.{len(view)}{ord(view[0])}.{number}"
    return replace(facts, **{"sop_instance_uid": uid, **changes})


def raw(name: str, number: int = 50, **changes: Any) -> ImageFacts:
    return image(
        name,
        number,
        sop_class_uid=FOR_PROCESSING,
        presentation_intent="FOR PROCESSING",
        **changes,
    )


def volume(name: str) -> ImageFacts:
    return image(name, 70, sop_class_uid=TOMOSYNTHESIS, frames=60)


def each(*names: str, **changes: Any) -> list[ImageFacts]:
    return [image(name, **changes) for name in names]


FOUR = each("R CC", "L CC", "R MLO", "L MLO")
RIGHT = each("R CC", "R MLO")
SPOT = image("R CC", 2, view_modifiers=("Spot Compression",))
MAGNIFIED = image("L MLO", 2, view_modifiers=("Magnification",))
IMPLANTS = each("R CC", "L CC", "R MLO", "L MLO", implant=True)
EKLUND = [
    image(
        item.name,
        9,
        implant=True,
        implant_displaced=True,
        view_modifiers=("Implant Displaced",),
    )
    for item in FOUR
]
RAW_FOUR = [raw(item.name) for item in FOUR]
SYNTHETIC = [replace(item, sop_instance_uid=f"{item.sop_instance_uid}.7") for item in FOUR]
TWO_UNITS = [*each("R CC", "L CC"), *each("R MLO", "L MLO", manufacturer="OTHER")]

CASES: dict[str, tuple[list[ImageFacts], tuple[str, ...]]] = {
    "nothing yet but one view": (each("R CC"), ("L CC", "R MLO", "L MLO")),
    "the four views": (FOUR, ()),
    "two right CC are one view": (
        [*each("R CC", "L CC", "R MLO"), image("R CC", 2)],
        ("L MLO",),
    ),
    "repeats beside the four": ([*FOUR, image("R CC", 2), image("L MLO", 3)], ()),
    # unilateral
    "one side, and nobody said that it is all": (RIGHT, ("L CC", "L MLO")),
    "ordered on the right": ([replace(item, ordered=Ordered.RIGHT) for item in RIGHT], ()),
    "ordered on the right, one to come": (each("R CC", ordered=Ordered.RIGHT), ("R MLO",)),
    "ordered on the right, one image says so": (
        [image("R CC", ordered=Ordered.RIGHT), image("R MLO")],
        (),
    ),
    "ordered on the right, left images came": (
        each("L CC", "L MLO", ordered=Ordered.RIGHT),
        ("R CC", "R MLO"),
    ),
    "unilateral, side by its images": (each("R CC", "R MLO", ordered=Ordered.ONE), ()),
    "unilateral, images of both": (
        each("R CC", "L CC", ordered=Ordered.ONE),
        ("R MLO", "L MLO"),
    ),
    "ordered on both": (each("R CC", "R MLO", ordered=Ordered.BOTH), ("L CC", "L MLO")),
    "orders contradict": (
        [image("R CC", ordered=Ordered.RIGHT), image("R MLO", ordered=Ordered.LEFT)],
        ("L CC", "L MLO"),
    ),
    # modifiers and other views
    "a spot view is no CC": ([SPOT, *each("L CC", "R MLO", "L MLO")], ("R CC",)),
    "a magnification is no MLO": ([*each("R CC", "L CC", "R MLO"), MAGNIFIED], ("L MLO",)),
    "spot and magnification beside the four": ([*FOUR, SPOT, MAGNIFIED], ()),
    "views beyond the four": ([*FOUR, *each("R OTHER", "L OTHER")], ()),
    "other views alone": (each("R OTHER", "L OTHER"), USUAL),
    "a part of a breast is not all of it": (
        [*each("L CC", "R MLO", "L MLO"), image("R CC", partial_view=True)],
        ("R CC",),
    ),
    # implants
    "implants, displaced views to come": (
        IMPLANTS,
        tuple(f"{name} implant displaced" for name in USUAL),
    ),
    "implants, eight views": ([*IMPLANTS, *EKLUND], ()),
    "displaced views alone": (EKLUND, USUAL),
    "an implant on one side": (
        [*each("R CC", "R MLO", implant=True), *each("L CC", "L MLO")],
        ("R CC implant displaced", "R MLO implant displaced"),
    ),
    # For Processing
    "for processing alone": (RAW_FOUR, USUAL),
    "twins": ([*RAW_FOUR, *FOUR], ()),
    "one twin to come": ([*RAW_FOUR, *FOUR[:3]], ("L MLO",)),
    "a repeat whose twin is to come": (
        [*RAW_FOUR, raw("R CC", 51), *FOUR],
        ("R CC For Presentation",),
    ),
    "a repeat and its twin": ([*RAW_FOUR, raw("R CC", 51), *FOUR, image("R CC", 2)], ()),
    "a twin that names its source": (
        [
            *FOUR,
            raw("R CC", 51),
            raw("R CC", 52),
            image("R CC", 2, source_uids=(raw("R CC", 51).sop_instance_uid,)),
        ],
        (),
    ),
    "two made from one, the other without": (
        [
            *(replace(item, source_uids=(raw("R CC", 51).sop_instance_uid,)) for item in FOUR[:1]),
            *FOUR[1:],
            image("R CC", 2, source_uids=(raw("R CC", 51).sop_instance_uid,)),
            raw("R CC", 51),
            raw("R CC", 52),
        ],
        ("R CC For Presentation",),
    ),
    "a source that went elsewhere": ([replace(item, source_uids=("9.9",)) for item in FOUR], ()),
    "the spot view's twin": (
        [*FOUR, raw("R CC", 51, view_modifiers=("Spot Compression",))],
        ("R CC Spot Compression For Presentation",),
    ),
    # tomosynthesis
    "volumes without a 2D image": ([volume(item.name) for item in FOUR], USUAL),
    "volumes with synthetic 2D": ([*(volume(item.name) for item in FOUR), *SYNTHETIC], ()),
    "volumes, one synthetic to come": (
        [*(volume(item.name) for item in FOUR), *SYNTHETIC[1:]],
        ("R CC",),
    ),
    "volumes, synthetic and acquired 2D": (
        [*(volume(item.name) for item in FOUR), *SYNTHETIC, *FOUR],
        (),
    ),
    "volumes wrapped into a Secondary Capture": (
        each(*USUAL, sop_class_uid=SECONDARY_CAPTURE, has_pixel_data=False),
        USUAL,
    ),
    "volumes as frames of a Secondary Capture": (
        each(*USUAL, sop_class_uid=SECONDARY_CAPTURE, frames=60),
        USUAL,
    ),
    "projections are no pictures": (
        each("R CC", "L CC", "R MLO", "L MLO", sop_class_uid=PROJECTIONS),
        USUAL,
    ),
    # odd ones
    "two units": (TWO_UNITS, ()),
    "films, digitised": (
        each("R CC", "L CC", "R MLO", "L MLO", sop_class_uid=SECONDARY_CAPTURE),
        (),
    ),
    "a phantom beside three views": (
        [*FOUR[:3], image("L MLO", quality_control=True)],
        ("L MLO",),
    ),
    "a stereotactic pair": ([*FOUR[1:], image("R CC", stereotactic=True)], ("R CC",)),
    "low-energy images and recombined ones": (
        [*FOUR[1:], *(replace(image(item.name, 2), contrast=True) for item in FOUR)],
        ("R CC",),
    ),
    "raw images of high energy have no twin": (
        [*FOUR, *(image(f.name, 2, sop_class_uid=FOR_PROCESSING, contrast=True) for f in FOUR)],
        (),
    ),
    "a rejected view is to come again": (
        [*FOUR, image("R CC", 3, sop_class_uid=KEY_OBJECTS, rejects=(FOUR[0].sop_instance_uid,))],
        (FOUR[0].name,),
    ),
    "an ultrasound": ([*FOUR[:3], image("L MLO", modality="US")], ("L MLO",)),
    "without a breast": ([*each("? CC", "L CC"), *FOUR[2:]], ("R CC",)),
    "without a view": ([image("R ?"), *FOUR[1:]], ("R CC",)),
}


@pytest.mark.parametrize(("images", "missing"), CASES.values(), ids=CASES)
def test_what_is_missing(images: list[ImageFacts], missing: tuple[str, ...]) -> None:
    assert expected(images, USUAL).missing == missing


@pytest.mark.parametrize("images", [case[0] for case in CASES.values()], ids=CASES)
def test_the_order_never_changes_it(images: list[ImageFacts]) -> None:
    first = expected(images, USUAL)
    for seed in range(5):
        assert expected(random.Random(seed).sample(images, len(images)), USUAL) == first


EVERY_IMAGE = st.sampled_from(
    [item for images, _ in CASES.values() for item in images] + [SPOT, MAGNIFIED]
)


@given(
    st.lists(EVERY_IMAGE, min_size=1, max_size=10).flatmap(
        lambda items: st.tuples(st.just(items), st.permutations(items))
    )
)
def test_nor_does_it_for_any_mixture(pair: tuple[list[ImageFacts], list[ImageFacts]]) -> None:
    given_order, other_order = pair
    assert expected(given_order, USUAL) == expected(other_order, USUAL)


@given(st.lists(EVERY_IMAGE, max_size=10))
def test_views_are_missing_or_not_for_any_mixture_without_a_word_too_many(
    images: list[ImageFacts],
) -> None:
    missing = expected(images, USUAL).missing
    assert len(set(missing)) == len(missing)


def test_an_order_of_a_side_that_is_not_usual_leaves_it_to_quiet() -> None:
    wanted = expected(each("R CC", ordered=Ordered.RIGHT), ["L CC", "L MLO"])
    assert (wanted.any, wanted.missing) == (False, ())


def test_a_study_waits_in_words_for_what_it_lacks() -> None:
    facts = [*each("R CC", "R MLO", implant=True), image("? CC", 4)]
    held = [replace(make_instance(n), facts=item) for n, item in enumerate(facts)]
    assert judged(make_study(*held), NOON, NOON, SETTINGS).waiting_for == (
        "views L CC, L MLO, R CC implant displaced, R MLO implant displaced "
        "(1 image names no breast or view), or quiet until 12:01:00 UTC"
    )


# --- associations -------------------------------------------------------------------------------

THREE = make_study(*(make_instance(number) for number in (1, 2, 3)))
ALL_FOUR = make_study(*(make_instance(number) for number in (1, 2, 3, 4)))


def test_an_open_association_of_a_sender_extends_quiet() -> None:
    on_the_line = {"MODALITY": later(95)}
    assert judged(THREE, NOON, later(60), SETTINGS).complete
    verdict = judged(THREE, NOON, later(90), SETTINGS, open_until=on_the_line)
    assert verdict.waiting_for == (
        "views L MLO, or the end of the association of MODALITY and then quiet, "
        "at the latest 12:10:00 UTC"
    )


def test_quiet_begins_when_the_association_ends() -> None:
    closed = {"MODALITY": later(90)}
    assert not judged(THREE, NOON, later(149), SETTINGS, open_until=closed).complete
    assert judged(THREE, NOON, later(150), SETTINGS, open_until=closed).complete


def test_an_association_of_someone_else_means_nothing() -> None:
    assert judged(THREE, NOON, later(60), SETTINGS, open_until={"OTHER": later(900)}).complete


def test_an_association_that_never_ends_holds_up_to_the_longest_wait() -> None:
    for_ever = {"MODALITY": later(10**6)}
    assert not judged(THREE, NOON, later(599), SETTINGS, open_until=for_ever).complete
    assert judged(THREE, NOON, later(600), SETTINGS, open_until=for_ever).complete


def test_with_every_view_it_holds_no_longer_than_quiet() -> None:
    for_ever = {"MODALITY": later(10**6)}
    assert not judged(ALL_FOUR, NOON, later(59), SETTINGS, open_until=for_ever).complete
    assert judged(ALL_FOUR, NOON, later(60), SETTINGS, open_until=for_ever).complete
    closed = {"MODALITY": later(20)}
    assert not judged(ALL_FOUR, NOON, later(24), SETTINGS, open_until=closed).complete
    assert judged(ALL_FOUR, NOON, later(25), SETTINGS, open_until=closed).complete


def test_either_of_two_units_holds_their_study() -> None:
    other = replace(make_instance(2), calling_ae_title="UNIT2")
    study = make_study(make_instance(1), other)
    for name in ("MODALITY", "UNIT2"):
        assert not judged(study, NOON, later(70), SETTINGS, open_until={name: later(80)}).complete


# --- clocks -------------------------------------------------------------------------------------


@given(st.floats(0, 10**8))
def test_a_clock_that_goes_back_only_waits_longer_and_never_for_ever(back: float) -> None:
    now = later(-back)
    assert not judged(THREE, NOON, now, SETTINGS, watched_seconds=599).complete
    assert judged(THREE, NOON, now, SETTINGS, watched_seconds=600).complete
