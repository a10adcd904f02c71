"""What a step of training sees: which images, which crops, which labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data.dataloader import DataLoader
from numpy.typing import NDArray
from torch.utils.data import Dataset, WeightedRandomSampler

from oncopixel_pacs.domain import ModelTask
from training.datasets import DataSetFault
from training.prepared import Sample
from training.task import Phase
from training.transforms import crop_augmentation, image_augmentation

Item = dict[str, torch.Tensor]
_WHOLE_LESION, _WHOLE_CROP = 0.5, 0.25


class Crops(Dataset[Item]):
    """Random crops; the classifier's label says how surely malignant tissue is in the crop."""

    def __init__(self, samples: Sequence[Sample], phase: Phase, task: ModelTask) -> None:
        self._samples = samples
        self._task = task
        strong = phase.augmentation == "strong"
        self._around_lesions = crop_augmentation(phase.size, phase.positive_share, strong)
        self._anywhere = crop_augmentation(phase.size, None, strong)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Item:
        """Image and mask ``(1, height, width)``, and `malignant_share` of the crop."""
        sample = self._samples[index]
        target = self._target(sample)
        augment = self._around_lesions if target.any() else self._anywhere
        (item,) = augment(
            {
                "image": sample.image[None],
                "label": target[None].astype(np.float32),
                "breast": sample.breast[None].astype(np.float32),
            }
        )
        label = item["label"].as_tensor()
        return {
            "image": item["image"].as_tensor(),
            "label": label,
            "malignant": malignant_share(label, int(target.sum())),
            "located": torch.tensor(1.0),
        }

    def _target(self, sample: Sample) -> NDArray[np.bool_]:
        lesions = lesions_of(sample)
        if self._task is ModelTask.CLASSIFY and sample.malignant is False:
            return np.zeros_like(lesions)
        return lesions


class Images(Dataset[Item]):
    """Whole images in their own size, augmented or as they are, with a mask of what is sought.

    Segmenter: every lesion. Classifier: the lesions of malignant images.
    """

    def __init__(self, samples: Sequence[Sample], task: ModelTask, *, augment: bool) -> None:
        self._samples = samples
        self._task = task
        self._augment = image_augmentation() if augment else None

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Item:
        """Image and mask ``(1, height, width)``; whether malignant; whether the mask is known."""
        sample = self._samples[index]
        sought = self._sought(sample)
        known = np.zeros(sample.image.shape, bool) if sought is None else sought
        arrays: dict[str, Any] = {
            "image": sample.image[None],
            "label": known[None].astype(np.float32),
        }
        if self._augment is not None:
            arrays = {key: value.as_tensor() for key, value in self._augment(arrays).items()}
        return {
            **{key: torch.as_tensor(value) for key, value in arrays.items()},
            "malignant": torch.tensor(float(sample.malignant is True)),
            "located": torch.tensor(float(sought is not None)),
        }

    def _sought(self, sample: Sample) -> NDArray[np.bool_] | None:
        if self._task is ModelTask.SEGMENT:
            return lesions_of(sample)
        return sample.lesions if sample.malignant else np.zeros(sample.image.shape, bool)


def malignant_share(label: torch.Tensor, lesion_px: int) -> torch.Tensor:
    """Label of a crop: 1 when it holds half of the lesion, or is filled by a quarter; 0 without.

    In between it rises with the area, since a sliver of a lesion is no evidence.

    Parameters
    ----------
    label
        Mask of the crop.
    lesion_px
        Malignant pixels of the whole image.
    """
    enough = min(_WHOLE_LESION * lesion_px, _WHOLE_CROP * label.numel())
    return (label.sum() / max(enough, 1.0)).clamp(0.0, 1.0)


def lesions_of(sample: Sample) -> NDArray[np.bool_]:
    """Mask of the lesions of an image whose lesions are known."""
    if sample.lesions is None:
        raise DataSetFault(
            f"{sample.source} {sample.key} has no known lesion places; leave it out."
        )
    return sample.lesions


def usable(samples: Sequence[Sample], kind: str, task: ModelTask) -> list[Sample]:
    """Images that can train: with known places for masks and crops, else with a known label."""
    if kind == "crops" or task is ModelTask.SEGMENT:
        return [sample for sample in samples if sample.lesions is not None]
    return [sample for sample in samples if sample.malignant is not None]


def draw_weights(
    samples: Sequence[Sample], shares: Mapping[str, float], *, by_lesion: bool
) -> list[float]:
    """Weight of each image so that sets come by their shares, and classes evenly within a set.

    Parameters
    ----------
    samples
        Images to draw from.
    shares
        Share per set; sets that are not named are not drawn.
    by_lesion
        Whether images with and without lesion are balanced, rather than the labels.
    """
    groups = [
        (sample.source, bool(lesions_of(sample).any()) if by_lesion else sample.malignant is True)
        for sample in samples
    ]
    sizes = Counter(groups)
    classes = Counter(source for source, _ in sizes)
    return [
        shares.get(source, 0.0) / classes[source] / sizes[source, positive]
        for source, positive in groups
    ]


def training_batches(
    samples: Sequence[Sample],
    shares: Mapping[str, float],
    phase: Phase,
    task: ModelTask,
    *,
    workers: int,
    seed: int,
) -> Any:
    """Loader of exactly the batches of one phase.

    Raises
    ------
    DataSetFault
        When no image can be drawn.
    """
    chosen = usable(samples, phase.kind, task)
    by_lesion = phase.kind == "crops" or task is ModelTask.SEGMENT
    weights = draw_weights(chosen, shares, by_lesion=by_lesion)
    if sum(weights) <= 0:
        raise DataSetFault("No training image is left; check the shares of the task and --data.")
    generator = torch.Generator().manual_seed(seed)
    sampler = WeightedRandomSampler(
        weights, num_samples=phase.steps * phase.batch, replacement=True, generator=generator
    )
    dataset: Dataset[Item] = (
        Crops(chosen, phase, task) if phase.kind == "crops" else Images(chosen, task, augment=True)
    )
    return DataLoader(
        dataset,
        batch_size=phase.batch,
        sampler=sampler,
        num_workers=workers,
        drop_last=True,
        collate_fn=_collate,
    )


def validation_batches(samples: Sequence[Sample], task: ModelTask) -> Any:
    """Loader of whole images, one at a time, as the server would see them."""
    chosen = usable(samples, "images", task)
    return DataLoader(Images(chosen, task, augment=False), batch_size=1, num_workers=0)


def _collate(items: Sequence[Item]) -> Item:
    """Stack items; images and masks are padded at the bottom and right to the largest."""
    height, width = (max(item["image"].shape[axis] for item in items) for axis in (1, 2))

    def padded(value: torch.Tensor) -> torch.Tensor:
        if value.ndim != 3:
            return value
        return torch.nn.functional.pad(
            value, (0, width - value.shape[2], 0, height - value.shape[1])
        )

    return {key: torch.stack([padded(item[key]) for item in items]) for key in items[0]}
