"""The images of a task: real sets and generated phantoms, prepared and cached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oncopixel_pacs.imaging.preprocess import Preprocessing
from training.datasets import DataSetFault, Record, Split, read_real_set
from training.datasets.phantoms import SOURCE as PHANTOMS
from training.datasets.phantoms import phantom_records
from training.prepared import Sample, load_samples
from training.task import DataConfig, Seeds


def gather(
    config: DataConfig, data: Path | None, cache: Path, splits: Sequence[Split], *, workers: int = 1
) -> list[Sample]:
    """Prepare every image of the task that is in one of the splits.

    Parameters
    ----------
    config
        Sets and phantom seeds of the task.
    data
        Folder with one folder per real set; may be absent when the task uses phantoms alone.
    cache
        Folder for prepared arrays.
    splits
        Parts to take; training never asks for more than ``train`` and ``val``.
    workers
        Processes that prepare images side by side.

    Raises
    ------
    DataSetFault
        When a real set is named and cannot be read.
    """
    records: list[Record] = []
    for name in config.shares:
        if name == PHANTOMS:
            continue
        if data is None:
            raise DataSetFault(
                f"The task trains on {name}; give --data, the folder that holds the real sets."
            )
        records.extend(record for record in read_real_set(name, data) if record.split in splits)
    for split in splits:
        seeds = _seeds(config, split)
        records.extend(phantom_records(range(seeds.first, seeds.first + seeds.count), split))
    return load_samples(records, Preprocessing(), cache, workers=workers)


def _seeds(config: DataConfig, split: Split) -> Seeds:
    return {
        Split.TRAIN: config.phantom_train,
        Split.VAL: config.phantom_val,
        Split.TEST: config.phantom_test,
    }[split]
