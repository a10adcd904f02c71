"""What a study result says as a whole: in one code, and in words that reports carry as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pydicom.sr.coding import Code

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import Laterality, Reason, StudyResult
from oncopixel_pacs.report import codes

SIDE_NAMES: Mapping[Laterality, str] = MappingProxyType(
    {Laterality.RIGHT: "Right breast", Laterality.LEFT: "Left breast"}
)


def outcome(result: StudyResult) -> Code:
    """Name what came of a study, PS3.16 CID 6047."""
    if not result.analysed:
        return codes.NONE_SUCCEEDED
    if all(item.analysed for item in result.images):
        found, none = codes.ALL_SUCCEEDED_FINDINGS, codes.ALL_SUCCEEDED_NO_FINDINGS
    else:
        found, none = codes.SOME_SUCCEEDED_FINDINGS, codes.SOME_SUCCEEDED_NO_FINDINGS
    return found if result.findings else none


def sentences(result: StudyResult) -> Iterator[str]:
    """Notice, outcome of each image, why images were not analysed, and scores."""
    yield RESEARCH_NOTICE
    for item in result.images:
        name = item.facts.name
        if item.reason is not None:
            yield (
                f"Image {name} ({item.facts.sop_instance_uid}) was not analysed: "
                f"{item.reason.value}. {item.reason.sentence}"
                + (f" {item.reason_detail}" if item.reason is Reason.ANALYSIS_FAILED else "")
            )
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
