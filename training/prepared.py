"""Images as the models see them, prepared once and kept on disk.

The preprocessing is the server's own (`oncopixel_pacs.imaging.preprocess`); its digest is part
of the cache's path, so a changed preprocessing never reads old arrays.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.preprocess import Preprocessing, prepare
from training.datasets import Record, Split


@dataclass(frozen=True, slots=True)
class Sample:
    """One prepared image.

    Attributes
    ----------
    image
        ``(height, width)`` float32 in [0, 1] on the model's grid.
    breast
        ``(height, width)``.
    lesions
        ``(height, width)``; ``None`` when their places are unknown.
    """

    source: str
    key: str
    patient: str
    split: Split
    malignant: bool | None
    image: NDArray[np.float32]
    breast: NDArray[np.bool_]
    lesions: NDArray[np.bool_] | None


def prepare_record(record: Record, preprocessing: Preprocessing) -> Sample:
    """Prepare one image exactly as the server would.

    Raises
    ------
    UnreadableImage
        When no breast is found in it.
    """
    prepared = prepare(record.pixels(), record.spacing_mm, preprocessing)
    lesions = record.lesions()
    return Sample(
        source=record.source,
        key=record.key,
        patient=record.patient,
        split=record.split,
        malignant=record.malignant,
        image=prepared.image[0],
        breast=prepared.breast,
        lesions=None if lesions is None else prepared.geometry.mask_to_model(lesions),
    )


def load_samples(
    records: Sequence[Record], preprocessing: Preprocessing, cache: Path, *, workers: int = 1
) -> list[Sample]:
    """Prepare the images, or read them from the cache; those without a breast are left out.

    Parameters
    ----------
    records
        Images to prepare.
    cache
        Folder, created when missing; safe to delete.
    workers
        Processes that prepare images side by side.
    """
    folder = cache / preprocessing.digest()[:12]
    missing = [record for record in records if not _cache_path(folder, record).exists()]
    if missing:
        _fill(missing, preprocessing, folder, workers)
    samples = (_read(record, _cache_path(folder, record)) for record in records)
    return [sample for sample in samples if sample is not None]


def _fill(
    records: Sequence[Record], preprocessing: Preprocessing, folder: Path, workers: int
) -> None:
    if workers == 1:
        for record in track(records, "Preparing images"):
            _prepare_into_cache(record, preprocessing, folder)
        return
    with ProcessPoolExecutor(workers) as pool:
        done: Iterable[None] = pool.map(
            _prepare_into_cache,
            records,
            [preprocessing] * len(records),
            [folder] * len(records),
            chunksize=4,
        )
        for _ in track(done, "Preparing images", total=len(records)):
            pass


def _cache_path(folder: Path, record: Record) -> Path:
    name = hashlib.sha256(f"{record.source}/{record.key}".encode()).hexdigest()[:16]
    return folder / record.source / f"{name}.npz"


def _prepare_into_cache(record: Record, preprocessing: Preprocessing, folder: Path) -> None:
    try:
        sample = prepare_record(record, preprocessing)
    except UnreadableImage:
        arrays: dict[str, NDArray[np.generic]] = {}
    else:
        arrays = {"image": sample.image, "breast": sample.breast}
        if sample.lesions is not None:
            arrays["lesions"] = sample.lesions
    path = _cache_path(folder, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def _read(record: Record, path: Path) -> Sample | None:
    with np.load(path, allow_pickle=False) as archive:
        if "image" not in archive:
            return None
        return Sample(
            source=record.source,
            key=record.key,
            patient=record.patient,
            split=record.split,
            malignant=record.malignant,
            image=archive["image"],
            breast=archive["breast"],
            lesions=archive.get("lesions"),
        )
