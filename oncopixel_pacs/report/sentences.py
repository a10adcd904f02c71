"""What a study result says as a whole: in one code, and in words that reports carry as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pydicom.sr.coding import Code

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import (
    ImageResult,
    Laterality,
    PictureAnswer,
    Reason,
    StudyResult,
    Tissue,
)
from oncopixel_pacs.report import codes

SIDE_NAMES: Mapping[Laterality, str] = MappingProxyType(
    {Laterality.RIGHT: "Right breast", Laterality.LEFT: "Left breast"}
)


_MOST_LINES = 8


def outcome(result: StudyResult) -> Code:
    """Name what came of a study, PS3.16 CID 6047."""
    if not result.analysed:
        return codes.NONE_SUCCEEDED
    if all(item.analysed for item in result.images):
        found, none = codes.ALL_SUCCEEDED_FINDINGS, codes.ALL_SUCCEEDED_NO_FINDINGS
    else:
        found, none = codes.SOME_SUCCEEDED_FINDINGS, codes.SOME_SUCCEEDED_NO_FINDINGS
    tells = any(item.picture is not None and item.picture.tells for item in result.images)
    return found if result.findings or tells else none


def picture_phrases(answer: PictureAnswer) -> Iterator[str]:
    """Say what models of pictures answered, without full stops."""
    if answer.call is not None:
        ranked = sorted(answer.classes, key=lambda item: -item.probability)
        others = ", ".join(f"{item.name} {item.probability:.1%}" for item in ranked)
        yield f"called {answer.called} ({others})"
    for tissue in answer.tissues:
        area = "" if tissue.area_mm2 is None else f", {tissue.area_mm2:.1f} mm2"
        yield f"{tissue.name} on {tissue.share:.1%} of the picture{area}"
    if answer.searched and not answer.tissues:
        yield "no tissue of the searched kinds was found"


def tissue_name(item: ImageResult, tissue: Tissue) -> str:
    """Tracking Identifier of a kind of tissue on an image."""
    return f"{item.facts.name} {tissue.name}"


def caption(image: ImageResult) -> str:
    """Name an image with its score or the class that is called, for a picture of it."""
    call = None if image.picture is None else image.picture.call
    if call is not None:
        return f"{image.facts.name}  {call.name} {call.probability:.0%}"
    return image.facts.name + ("" if image.probability is None else f"  {image.probability:.0%}")


def picture_lines(result: StudyResult) -> Iterator[tuple[str, bool]]:
    """Say what came of a study of pictures, line by line; what matters most is bold."""
    if not result.analysed:
        yield "No image was analysed", True
    for item in result.images[:_MOST_LINES]:
        if item.picture is None:
            said = "" if item.reason is None else item.reason.sentence
            yield f"{item.facts.name}: not analysed. {said}", False
            continue
        yield item.facts.name, True
        for phrase in picture_phrases(item.picture):
            yield phrase, False
    if len(result.images) > _MOST_LINES:
        yield f"and {len(result.images) - _MOST_LINES} more; see the structured report.", False
    if result.revision > 1:
        yield f"Revision {result.revision}; it replaces what was reported before.", False


def sentences(result: StudyResult) -> Iterator[str]:
    """Notice, outcome of each image, why images were not analysed, and scores."""
    yield RESEARCH_NOTICE
    several = Counter(item.facts.name for item in result.images if item.analysed)
    for item in result.images:
        name = item.facts.name
        if item.analysed and several[name] > 1:
            # A repeat, or an image made from a tomosynthesis beside the acquired one.
            name = f"{name} ({item.facts.sop_instance_uid})"
        if item.reason is not None:
            yield (
                f"Image {name} ({item.facts.sop_instance_uid}) was not analysed: "
                f"{item.reason.value}. {item.reason.sentence}"
                + (f" {item.reason_detail}" if item.reason is Reason.ANALYSIS_FAILED else "")
            )
        elif item.picture is not None:
            yield f"Image {name}: {'; '.join(picture_phrases(item.picture))}."
        elif item.findings:
            yield f"Image {name}: {len(item.findings)} lesion candidate(s) marked."
        else:
            yield f"Image {name}: no lesion candidate was found."
    for laterality, probability in sorted(result.breasts.items()):
        names = sorted(
            item.facts.name
            for item in result.images
            if item.facts.laterality is laterality and item.probability is not None
        )
        yield (
            f"{SIDE_NAMES[laterality]}: probability of malignancy {probability:.1%}, "
            f"the mean of {', '.join(names)}."
        )
    if result.probability is not None:
        yield (
            f"Study: probability of malignancy {result.probability:.1%}, that of the higher breast."
        )
