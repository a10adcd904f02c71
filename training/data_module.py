"""Batches for Lightning; what an item holds follows from its place and seed alone.

A run that was interrupted and taken up again sees the very batches that it would have seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from training.batches import malignant_share
from training.datasets.example import IGNORED, Example
from training.inputs import Prepared, Preparer
from training.picture_transforms import breast_augmentation, picture_augmentation
from training.protocol import Parts, label_of
from training.recipe import DataPart, Recipe, Stage
from training.transforms import crop_augmentation

Item = dict[str, Tensor]
Bag = tuple[Example, ...]
Place = tuple[int, int]
UNKNOWN = -1
_PRIME = 1_000_003


def bags_of(examples: Sequence[Example], data: DataPart) -> list[Bag]:
    """Group views of one breast, at most `DataPart.bag` of them; else every image is alone."""
    if data.bag == 1:
        return [(example,) for example in examples]
    groups: dict[tuple[str, str, str], list[Example]] = {}
    for example in examples:
        side = example.facts.get("laterality", "")
        groups.setdefault((example.source, example.patient, side), []).append(example)
    return [tuple(views[: data.bag]) for views in groups.values()]


def label_number(bag: Bag, data: DataPart) -> int:
    """Give the number of the class of a bag, the highest of its views, or `UNKNOWN`."""
    labels = [label for view in bag if (label := label_of(view, data)) is not None]
    return max((data.classes.index(label) for label in labels), default=UNKNOWN)


class Drawn(DistributedSampler[Place]):
    """Places and seeds of one epoch, drawn by weight; another draw in every epoch.

    Of several devices each takes every so-manieth place of one draw. Being a sampler for several
    devices, it is left as it is by Lightning, which would tell another the first epoch throughout.

    Parameters
    ----------
    weights
        How often each place is drawn.
    count
        Places that a device takes.
    device, devices
        Number of this device, and how many there are.
    """

    def __init__(
        self, weights: Sequence[float], count: int, seed: int, device: int = 0, devices: int = 1
    ) -> None:
        super().__init__(range(count * devices), devices, device, shuffle=False, seed=seed)  # type: ignore[arg-type]
        self._weights = torch.tensor(weights, dtype=torch.float64)

    def __iter__(self) -> Iterator[Place]:
        generator = torch.Generator().manual_seed(self.seed * _PRIME + self.epoch)
        count = self.total_size
        places = torch.multinomial(self._weights, count, True, generator=generator)
        seeds = torch.randint(2**31 - 1, (count,), generator=generator)
        every = list(zip(places.tolist(), seeds.tolist(), strict=True))
        return iter(every[self.rank :: self.num_replicas])


class Items(Dataset[Item]):
    """Bags as tensors; augmented when asked for with a seed."""

    def __init__(
        self, bags: Sequence[Bag], recipe: Recipe, preparer: Preparer, stage: Stage | None
    ) -> None:
        self._bags, self._recipe, self._prepare, self._stage = bags, recipe, preparer, stage
        self._segments = recipe.kind != "classify"

    def __len__(self) -> int:
        return len(self._bags)

    def __getitem__(self, place: int | Place) -> Item:
        """Image ``(channels, height, width)``, or ``(views, …)`` of bags; label; mask."""
        index, seed = place if isinstance(place, tuple) else (place, None)
        bag = self._bags[index]
        label = label_number(bag, self._recipe.data)
        views = [self._view(view, seed, label) for view in bag]
        item = views[0]
        if self._recipe.data.bag > 1:
            item["image"] = _stacked([view["image"] for view in views], self._recipe.data.bag)
        return item

    def _view(self, example: Example, seed: int | None, label: int) -> Item:
        prepared = self._prepare(example)
        stage = self._stage
        if seed is None or stage is None:
            return self._plain(prepared, label)
        if stage.kind == "patches":
            return self._patch(prepared, stage, seed, label)
        mask = self._mask(prepared) if self._segments else np.zeros_like(prepared.breast)
        if self._recipe.data.reading == "breast":
            augment = breast_augmentation(stage.size or self._recipe.data.size)
        else:
            augment = picture_augmentation(self._recipe.training.flips)
        augment.set_random_state(seed)
        found = augment({"image": prepared.image, "label": mask[None].astype(np.float32)})
        return self._item(found["image"], found["label"] if self._segments else None, float(label))

    def _patch(self, prepared: Prepared, stage: Stage, seed: int, label: int) -> Item:
        mask = self._mask(prepared)
        target = (mask == 1) if self._segments or label == 1 else np.zeros_like(mask, dtype=bool)
        size = stage.size or self._recipe.data.size
        augment = crop_augmentation(size, stage.positive_share if target.any() else None)
        augment.set_random_state(seed)
        (found,) = augment(
            {
                "image": prepared.image,
                "label": target[None].astype(np.float32),
                "breast": prepared.breast[None].astype(np.float32),
            }
        )
        patch = found["label"].as_tensor()
        share = float(malignant_share(patch, int(target.sum())))
        # The label of a patch is what is in it, not what is elsewhere in the image.
        told = share if label != UNKNOWN or self._segments else UNKNOWN
        return self._item(found["image"], patch if self._segments else None, told)

    def _plain(self, prepared: Prepared, label: int) -> Item:
        mask = torch.from_numpy(self._mask(prepared)[None]) if self._segments else None
        return self._item(torch.from_numpy(prepared.image), mask, float(label))

    def _mask(self, prepared: Prepared) -> Any:
        if prepared.mask is None:
            return np.full(prepared.breast.shape, IGNORED, dtype=np.uint8)
        return prepared.mask

    @staticmethod
    def _item(image: Any, mask: Any, label: float) -> Item:
        item = {
            "image": torch.as_tensor(image, dtype=torch.float32).as_subclass(Tensor),
            "label": torch.tensor(label, dtype=torch.float32),
        }
        if mask is not None:
            item["mask"] = torch.as_tensor(mask).as_subclass(Tensor)[0].round().to(torch.int64)
        return item


def _stacked(views: Sequence[Tensor], count: int) -> Tensor:
    """Stack views as ``(count, channels, height, width)``; missing ones are all zero."""
    height, width = (max(view.shape[axis] for view in views) for axis in (1, 2))
    padded = [
        torch.nn.functional.pad(view, (0, width - view.shape[2], 0, height - view.shape[1]))
        for view in views
    ]
    missing = [torch.zeros_like(padded[0])] * (count - len(padded))
    return torch.stack([*padded, *missing])


class Batches(pl.LightningDataModule):
    """Training and validation batches of one stage."""

    def __init__(
        self, recipe: Recipe, parts: Parts, stage: Stage, preparer: Preparer, workers: int
    ) -> None:
        super().__init__()
        self._recipe, self._stage, self._workers = recipe, stage, workers
        self._preparer = preparer
        self._train = self._useful(bags_of(parts.train, recipe.data))
        self._val = self._useful(bags_of(parts.val, recipe.data))

    def _useful(self, bags: list[Bag]) -> list[Bag]:
        if self._recipe.kind != "classify":
            return bags
        return [bag for bag in bags if label_number(bag, self._recipe.data) != UNKNOWN]

    def weights(self) -> list[float]:
        """How often each training bag is drawn: classes evenly, or lesions and none."""
        if not self._recipe.data.balance:
            return [1.0] * len(self._train)
        groups = [self._group(bag) for bag in self._train]
        sizes = Counter(groups)
        return [1.0 / sizes[group] for group in groups]

    def _group(self, bag: Bag) -> Any:
        if self._recipe.kind == "classify":
            return label_number(bag, self._recipe.data)
        if len(self._recipe.data.classes) > 1:
            return 0
        mask = self._preparer(bag[0]).mask
        return mask is not None and bool((mask == 1).any())

    def train_dataloader(self) -> Any:
        """Batches of one epoch; of several devices, those of this one."""
        stage, trainer = self._stage, self.trainer
        place = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        sampler = Drawn(self.weights(), stage.steps * stage.batch, self._recipe.seed, *place)
        items = Items(self._train, self._recipe, self._preparer, stage)
        return DataLoader(items, stage.batch, sampler=sampler, num_workers=self._workers)

    def val_dataloader(self) -> Any:
        """Whole validation images; mammograms one at a time, since they differ in size."""
        items = Items(self._val, self._recipe, self._preparer, None)
        alone = self._recipe.data.reading == "breast"
        return DataLoader(items, 1 if alone else self._stage.batch, num_workers=0)
