"""Generated pictures in the published layouts, so that every recipe can be tried in seconds.

They teach nothing: each class has a brightness of its own under noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.datasets.brain_mri import CLASSES as BRAIN_CLASSES
from training.datasets.pcam import SOURCE as PCAM

_Colours = NDArray[np.uint8]
_PATIENTS = 6


def write_smoke_sets(names: tuple[str, ...], folder: Path) -> Path:
    """Write the sets that a recipe names into `folder`, one folder each.

    Returns
    -------
    Path
        `folder`, to be used as the data folder.
    """
    for name in names:
        write = _WRITERS.get(name)
        if write is not None and not (folder / name).exists():
            write(folder / name, np.random.default_rng(0))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _noise(draw: np.random.Generator, level: float, *shape: int) -> _Colours:
    return np.clip(draw.normal(level, 30, shape), 0, 255).astype(np.uint8)


def _save(path: Path, pixels: _Colours) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _breakhis(folder: Path, draw: np.random.Generator) -> None:
    kinds = (("benign", "B", "F", "fibroadenoma"), ("malignant", "M", "DC", "ductal_carcinoma"))
    for number, (kind, letter, short, name) in enumerate(kinds):
        for patient in range(_PATIENTS):
            slide = f"SOB_{letter}_{short}-14-{number + 1}{patient:03d}"
            place = folder / "histology_slides/breast" / kind / "SOB" / name / slide / "40X"
            for picture in (1, 2):
                pixels = _noise(draw, 90 + 80 * number, 46, 70, 3)
                _save(place / f"{slide}-40-{picture:03d}.png", pixels)


def _pcam(folder: Path, draw: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for part in ("train", "valid", "test"):
        stem = folder / f"camelyonpatch_level_2_split_{part}"
        labels = np.arange(12, dtype=np.uint8) % 2
        patches = np.stack([_noise(draw, 90 + 80 * int(label), 96, 96, 3) for label in labels])
        for end, content in (("x", patches), ("y", labels.reshape(-1, 1, 1, 1))):
            with h5py.File(f"{stem}_{end}.h5", "w") as file:
                file[end] = content


def _bcss(folder: Path, draw: np.random.Generator) -> None:
    codes = np.array([0, 1, 2, 3, 4, 18], dtype=np.uint8)
    for number, institute in enumerate(("A1", "A2", "AR", "BH", "OL", "S3")):
        mask = codes[draw.integers(0, len(codes), (4, 4))].repeat(16, axis=0).repeat(16, axis=1)
        colours = np.stack([_noise(draw, 120, 64, 64) // 2 + mask * 6 for _ in range(3)], axis=-1)
        name = f"TCGA-{institute}-A{number:03d}-DX1_xmin0_ymin0_MPP-0.2500.png"
        _save(folder / "rgbs_colorCropped" / name, colours.astype(np.uint8))
        _save(folder / "masks" / name, mask)


def _brain_mri(folder: Path, draw: np.random.Generator) -> None:
    for part, count in (("Training", 4), ("Testing", 2)):
        for number, name in enumerate(BRAIN_CLASSES):
            for picture in range(count):
                # Coarse noise, so that no two pictures look like copies of each other.
                coarse = draw.normal(60 + 40 * number, 30, (8, 8)).repeat(8, 0).repeat(8, 1)
                pixels = np.clip(coarse, 0, 255).astype(np.uint8)
                _save(folder / part / name / f"{part[:2]}-{number}{picture:03d}.png", pixels)


_WRITERS: Mapping[str, Callable[[Path, np.random.Generator], None]] = {
    "bcss": _bcss,
    "brain_mri": _brain_mri,
    "breakhis": _breakhis,
    PCAM: _pcam,
}
