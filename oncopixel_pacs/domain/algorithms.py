"""What a model is and what it answers. Speak of it as part of `domain`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ModelTask(StrEnum):
    """What a model answers."""

    CLASSIFY = "classify"
    SEGMENT = "segment"


class ModelMode(StrEnum):
    """Whether results are made of what a model says, or it is only compared."""

    ACTIVE = "active"
    SHADOW = "shadow"


class Subject(StrEnum):
    """What the images show that a model reads.

    ``picture`` is any single picture that is no mammogram, such as a slice of an MRI or a
    photograph through a microscope: it is brought to one size and read as a whole.
    """

    BREAST = "breast"
    PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One model as it stands in every result object.

    Attributes
    ----------
    weights_sha256, preprocessing_sha256
        Hex digests of the weights file and of the preprocessing's parameters and version.
    threshold
        Operating point: probability at or above which the model calls a finding.
    rule_sha256
        Hex digest of the rule by which images are given to it; empty without a rule.
    outline_threshold
        Lower probability down to which a segmenter's findings reach; ``None``: down to `threshold`.
    configuration_sha256
        Hex digest of what its bundle states beside the weights; empty of a trusted bundle, whose
        every file is in `preprocessing_sha256`.
    """

    name: str
    version: str
    task: ModelTask
    weights_sha256: str
    preprocessing_sha256: str
    threshold: float
    manufacturer: str = "OncoPixel"
    rule_sha256: str = ""
    outline_threshold: float | None = None
    configuration_sha256: str = ""
