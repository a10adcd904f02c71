"""A ready-made study of four small views, for a first try and for tests that want files.

Written by ``python -m sample_dicom.tiny``; its lesion masks are those of
``make_study(SEED, rows=ROWS, columns=COLUMNS)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydicom.uid import RLELossless

from sample_dicom.study import make_study

SEED = 2026
ROWS, COLUMNS = 512, 416
FOLDER = Path(__file__).parent


def tiny_study() -> tuple[Path, ...]:
    """Return the four files, sorted by name: ``L-CC.dcm`` to ``R-MLO.dcm``."""
    return tuple(sorted(FOLDER.glob("*.dcm")))


def write_tiny_study(folder: Path = FOLDER) -> Iterator[Path]:
    """Write the four files, RLE Lossless; yields every path when it is written."""
    for image in make_study(SEED, rows=ROWS, columns=COLUMNS):
        image.dataset.compress(RLELossless, generate_instance_uid=False)
        path = folder / f"{image.dataset.SeriesDescription.replace(' ', '-')}.dcm"
        image.dataset.save_as(path, enforce_file_format=True)
        yield path
