"""What a study result says, in words; reports carry these sentences as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import Laterality, StudyResult

SIDE_NAMES: Mapping[Laterality, str] = MappingProxyType(
    {Laterality.RIGHT: "Right breast", Laterality.LEFT: "Left breast"}
)


def sentences(result: StudyResult) -> Iterator[str]:
    """Notice, outcome of each image, why images were not analysed, and scores."""
    yield RESEARCH_NOTICE
    for item in result.images:
        name = item.facts.name
        if item.reason is not None:
            yield (
                f"Image {name} ({item.facts.sop_instance_uid}) was not analysed: "
                f"{item.reason.value}. {item.reason.sentence}"
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
