"""What ``metadata.json`` of a stranger's bundle says, and what its table in the settings adds.

Such a bundle has no table ``oncopixel``. Of MONAI's own keys are needed: ``version`` and
``network_data_format`` with one input of one or three channels and one output whose
``num_channels`` is the number of its classes. The rest is in ``[models.trusted]``, for which
`propose` reads what can be read: names of the classes from ``channel_def`` of the output, the
modality from that of the input, and codes where the names are those of breast density.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from oncopixel_pacs.domain import Concept, ModelTask
from oncopixel_pacs.domain.requirements import Requirements
from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.imaging.picture_input import AsShown
from oncopixel_pacs.infer.card import Card, Words, picture_class
from oncopixel_pacs.infer.trusted.manifest import manifest_digest, read_manifest
from oncopixel_pacs.settings import ModelSettings, TrustedSettings

#: PS3.16 CID 6000, in the order of BI-RADS a to d.
DENSITIES: Mapping[str, tuple[str, str, str]] = {
    "A": ("129716005", "SCT", "Almost entirely fat"),
    "B": ("129717001", "SCT", "Scattered fibroglandular densities"),
    "C": ("129718006", "SCT", "Heterogeneously dense"),
    "D": ("129719003", "SCT", "Extremely dense"),
}
_BREAST = ("76752008", "SCT", "Breast")
_MODALITIES = (("MG", r"\bMG\b|mammo"), ("MR", r"\bMRI?\b"), ("CT", r"\bCT\b"), ("US", r"\bUS\b"))
_MAX_METADATA_BYTES = 1_000_000


class _Input(BaseModel):
    num_channels: Literal[1, 3]
    modality: str = ""


class _Output(BaseModel):
    num_channels: int = Field(ge=2, le=64)
    channel_def: dict[str, str] = Field(default_factory=dict)


class _DataFormat(BaseModel):
    inputs: dict[str, _Input] = Field(min_length=1, max_length=1)
    outputs: dict[str, _Output] = Field(min_length=1, max_length=1)


class _Metadata(BaseModel):
    version: Words
    task: str = ""
    description: str = ""
    authors: str | list[str] = ""
    network_data_format: _DataFormat

    @model_validator(mode="before")
    @classmethod
    def _is_a_table(cls, given: object) -> object:
        if not isinstance(given, dict):
            raise ValueError("it is not a table")
        return given

    @property
    def input(self) -> tuple[str, _Input]:
        """Name and content of the only input."""
        return next(iter(self.network_data_format.inputs.items()))

    @property
    def output(self) -> tuple[str, _Output]:
        """Name and content of the only output."""
        return next(iter(self.network_data_format.outputs.items()))

    @property
    def maker(self) -> str:
        """Who answers for it, short and in characters of every code table."""
        names = self.authors if isinstance(self.authors, str) else ", ".join(self.authors)
        return re.sub(r"[^ -\[\]-~]", "?", " ".join(names.split()))[:64].strip() or "unknown"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person says of a bundle that does not say it itself; empty where it does."""

    classes: Sequence[str] = ()
    modalities: Sequence[str] = ()
    site: tuple[str, str, str] | None = None
    activation: str = "none"


def read_stranger_card(model: ModelSettings, trusted: TrustedSettings) -> Card:
    """Read the card of a trusted model.

    Raises
    ------
    ModelRefused
        When its metadata cannot be read, or do not agree with the settings.
    """
    metadata = _read(model.name, model.bundle)
    (image, source), (pred, output) = metadata.input, metadata.output
    if output.num_channels != len(trusted.classes):
        raise ModelRefused(
            f"Model {model.name}: metadata.json states {output.num_channels} output channels, its "
            f"trusted table {len(trusted.classes)} classes; name each class."
        )
    names = [item.name for item in trusted.classes]
    if len(set(names)) != len(names):
        raise ModelRefused(f"Model {model.name}: each of its classes needs a name of its own.")
    return Card(
        version=metadata.version,
        task=ModelTask.CLASSIFY,
        activation="none",
        preprocessing_sha256=manifest_digest(trusted),
        pixel_size_mm=0.0,
        manufacturer=metadata.maker,
        input_shape=(256, 256),
        requirements=Requirements(modalities=trusted.modalities),
        reader=AsShown(source.num_channels),
        classes=tuple(
            picture_class(item.name, item.code, item.absence) for item in trusted.classes
        ),
        site=Concept(*trusted.site),
        keys=(image, pred),
    )


def propose(name: str, bundle: Path, wishes: Wishes) -> TrustedSettings:
    """Propose the table ``[models.trusted]`` of a bundle, every file of it pinned.

    Raises
    ------
    ModelRefused
        When something is neither in its metadata nor said by a person.
    """
    metadata = _read(name, bundle)
    names = wishes.classes or _class_names(name, metadata)
    modalities = wishes.modalities or _modalities(name, metadata)
    site = wishes.site or (_BREAST if "MG" in modalities else None)
    if site is None:
        raise ModelRefused(
            f"Model {name}: which organ its images show is not known; give --site, such as "
            "--site 12738006:SCT:Brain."
        )
    density = _is_density(metadata, names)
    try:
        return TrustedSettings.model_validate(
            {
                "files": read_manifest(name, bundle),
                "classes": [_proposed(item, density) for item in names],
                "site": site,
                "modalities": tuple(modalities),
                "activation": wishes.activation,
            }
        )
    except ValidationError as exc:
        raise ModelRefused(f"Model {name}: {_problems(exc)}; give it otherwise.") from exc


def _read(name: str, bundle: Path) -> _Metadata:
    path = bundle / "configs" / "metadata.json"
    try:
        if path.stat().st_size > _MAX_METADATA_BYTES:
            raise ModelRefused(f"Model {name}: {path} is too large to be metadata.")
        return _Metadata.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise ModelRefused(
            f"Model {name}: {path} cannot be read ({exc.strerror}); a MONAI bundle has its "
            "metadata there."
        ) from exc
    except ValidationError as exc:
        raise ModelRefused(
            f"Model {name}: metadata.json is refused ({_problems(exc)}); a trusted bundle takes "
            "one image of 1 or 3 channels and answers with one number for each class."
        ) from exc


def _class_names(name: str, metadata: _Metadata) -> list[str]:
    _, output = metadata.output
    wanted = [str(number) for number in range(output.num_channels)]
    if sorted(output.channel_def) != sorted(wanted):
        raise ModelRefused(
            f"Model {name}: metadata.json does not name its {output.num_channels} classes "
            "(channel_def of the output); give each by --class, in their order."
        )
    return [output.channel_def[key] for key in wanted]


def _modalities(name: str, metadata: _Metadata) -> list[str]:
    _, source = metadata.input
    for modality, pattern in _MODALITIES:
        if re.search(pattern, source.modality, re.IGNORECASE):
            return [modality]
    raise ModelRefused(
        f"Model {name}: the modality {source.modality!r} of its metadata.json is not one of DICOM; "
        "give --modality, such as --modality MG."
    )


def _is_density(metadata: _Metadata, names: Sequence[str]) -> bool:
    said = f"{metadata.task} {metadata.description}".lower()
    return "density" in said and [_letter(item) for item in names] == list(DENSITIES)


def _letter(name: str) -> str:
    """Category of BI-RADS density that a name stands for; empty when it is none."""
    words = name.strip().lower()
    for letter, (_, _, meaning) in DENSITIES.items():
        if meaning.lower() in words:
            return letter
    found = re.fullmatch(r"(?:bi-?rads\s*|density\s*|category\s*|type\s*)*([a-d])", words)
    return found[1].upper() if found else ""


def _proposed(name: str, density: bool) -> dict[str, object]:
    if not density:
        return {"name": name}
    letter = _letter(name)
    code = DENSITIES[letter]
    return {"name": f"Density {letter}: {code[2].lower()}", "code": code}


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found)
