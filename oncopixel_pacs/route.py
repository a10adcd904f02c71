"""Which images the models can read at all, and why not the others: a table over header facts.

A study whose images name different patients is not read: its one report would be filed with one
of them and speak of all.

The models read single-frame, monochrome, For Presentation 2D mammograms in CC or MLO view with
a known breast and a known pixel size: acquired, made from a tomosynthesis, or a digitised film or
upload that came as Secondary Capture of modality MG. Everything else gets a coded reason, never a
silent skip. What a site and a model ask beyond that stands in `rules`, `requirements` and
`model_choice`, and what the pixels say in `imaging.plausibility`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oncopixel_pacs.domain import ImageFacts, Reason, View
from oncopixel_pacs.domain.facts import rejected, with_implant
from oncopixel_pacs.domain.model_choice import Candidate, RoutedImage, Verdict, verdicts
from oncopixel_pacs.domain.rules import Origin

_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
_TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_READABLE = (_FOR_PRESENTATION, _FOR_PROCESSING, _SECONDARY_CAPTURE)

_Rule = tuple[Reason, Callable[[ImageFacts], bool]]

#: In this order: the first rule that holds is the reason.
_RULES: tuple[_Rule, ...] = (
    (Reason.TOMOSYNTHESIS, lambda f: f.sop_class_uid == _TOMOSYNTHESIS),
    (
        Reason.NOT_MAMMOGRAPHY,
        lambda f: f.modality != "MG" or f.sop_class_uid not in _READABLE,
    ),
    # Before For Processing: there is no twin For Presentation that would be read.
    (Reason.PROJECTION, lambda f: f.projection),
    (Reason.CONTRAST, lambda f: f.contrast),
    (
        Reason.FOR_PROCESSING,
        lambda f: f.sop_class_uid == _FOR_PROCESSING or f.presentation_intent == "FOR PROCESSING",
    ),
    (Reason.NO_PIXEL_DATA, lambda f: not f.has_pixel_data),
    (Reason.MULTI_FRAME, lambda f: f.frames > 1),
    (
        Reason.NOT_MONOCHROME,
        lambda f: f.samples_per_pixel != 1 or not f.photometric.startswith("MONOCHROME"),
    ),
    (Reason.QUALITY_CONTROL, lambda f: f.quality_control),
    (Reason.STEREOTACTIC, lambda f: f.stereotactic),
    (Reason.NO_LATERALITY, lambda f: f.laterality is None),
    (Reason.NO_VIEW, lambda f: f.view is None),
    (Reason.UNSUPPORTED_VIEW, lambda f: f.view is View.OTHER),
    (Reason.VIEW_MODIFIER, lambda f: bool(f.view_modifiers)),
    (Reason.PARTIAL_VIEW, lambda f: f.partial_view),
    (Reason.BREAST_IMPLANT, lambda f: f.implant),
    (Reason.TURNED, lambda f: f.turned),
    (Reason.NO_PIXEL_SPACING, lambda f: f.spacing_mm is None),
)


def why_not(facts: ImageFacts) -> Reason | None:
    """Return the reason why the models cannot read an image, or ``None`` when they can."""
    return next((reason for reason, holds in _RULES if holds(facts)), None)


def why_not_in_study(images: Sequence[ImageFacts]) -> tuple[Reason | None, ...]:
    """Return the reason against each object of one study, in their order; ``None`` where none is.

    Images without Patient ID contradict nobody, nor do those that were taken back. An implant that
    one image tells of is in the other images of that breast, too.
    """
    taken_back = rejected(images)
    counting = [facts for facts in images if facts.sop_instance_uid not in taken_back]
    holding = (facts for facts in counting if not facts.is_document)
    implants = with_implant(counting)
    mixed = len({facts.patient_digest for facts in holding} - {""}) > 1

    def reason(facts: ImageFacts) -> Reason | None:
        if facts.sop_instance_uid in taken_back:
            return Reason.REJECTED
        if mixed:
            return Reason.SEVERAL_PATIENTS
        flaw = why_not(facts)
        return Reason.BREAST_IMPLANT if flaw is None and facts.laterality in implants else flaw

    return tuple(map(reason, images))


def route(
    images: Sequence[tuple[ImageFacts, Origin]], candidates: Sequence[Candidate]
) -> tuple[tuple[Verdict, ...], ...]:
    """Say which models would read the images of one study, and why the others would not.

    Decoding may still find a reason against an image, such as a blank one.

    Returns
    -------
    tuple of tuple of Verdict
        For every image, in their order, one verdict per model in the order of the configuration.
    """
    reasons = why_not_in_study([facts for facts, _ in images])
    routed = [
        RoutedImage(facts, origin, reason)
        for (facts, origin), reason in zip(images, reasons, strict=True)
    ]
    return verdicts(routed, candidates)
