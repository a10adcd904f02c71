"""The images of a task: real sets and generated phantoms, prepared and cached."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from oncopixel_pacs.imaging.preprocess import Preprocessing
from training.datasets import DataSetFault, Record, Split, read_real_set
from training.datasets.phantoms import SOURCE as PHANTOMS
from training.datasets.phantoms import phantom_records
from training.prepared import Sample, load_samples
from training.task import DataConfig, Seeds, Tuning


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
        Parts to take; training never asks for more than ``train`` and ``val``. Patients whom the
        task sets apart are in ``tune`` and no longer in ``train``.
    workers
        Processes that prepare images side by side.

    Raises
    ------
    DataSetFault
        When a real set is named and cannot be read.
    """
    read = {Split.TRAIN if split is Split.TUNE else split for split in splits}
    records: list[Record] = []
    apart: set[tuple[str, str]] = set()
    for name in config.shares:
        if name == PHANTOMS:
            continue
        if data is None:
            raise DataSetFault(
                f"The task trains on {name}; give --data, the folder that holds the real sets."
            )
        found = read_real_set(name, data)
        apart |= {(name, patient) for patient in set_apart(name, found, config.tuning)}
        records.extend(record for record in found if record.split in read)
    for split in splits:
        if split is not Split.TUNE:
            seeds = _seeds(config, split)
            records.extend(phantom_records(range(seeds.first, seeds.first + seeds.count), split))
    samples = [
        replace(sample, split=Split.TUNE) if (sample.source, sample.patient) in apart else sample
        for sample in load_samples(records, Preprocessing(), cache, workers=workers)
    ]
    return [sample for sample in samples if sample.split in splits]


def set_apart(source: str, records: Sequence[Record], tuning: Tuning | None) -> set[str]:
    """Choose the patients of ``train`` who change no weights.

    Women with and without a malignancy are dealt out in turn, in the order of the digests of
    their names: the same patients whenever and wherever it is asked for.

    Parameters
    ----------
    source
        Name of the set.
    records
        All of the set.
    """
    if tuning is None:
        return set()
    ill: dict[str, bool] = {}
    for record in records:
        if record.split is Split.TRAIN:
            ill[record.patient] = ill.get(record.patient, False) or record.malignant is True
    order = sorted(
        ill, key=lambda name: (ill[name], hashlib.sha256(f"{source}/{name}".encode()).digest())
    )
    return set(order[tuning.fold % tuning.folds :: tuning.folds])


def _seeds(config: DataConfig, split: Split) -> Seeds:
    return {
        Split.TRAIN: config.phantom_train,
        Split.VAL: config.phantom_val,
        Split.TEST: config.phantom_test,
    }[split]
