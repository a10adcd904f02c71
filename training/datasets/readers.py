"""Every reader by the name of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.datasets.bcss import read_bcss
from training.datasets.brain_mri import read_brain_mri
from training.datasets.breakhis import read_breakhis
from training.datasets.cbis_ddsm import read_cbis_ddsm
from training.datasets.cdd_cesm import read_cdd_cesm
from training.datasets.cdd_cesm_tcia import read_cdd_cesm_tcia
from training.datasets.ddsm import read_ddsm
from training.datasets.ddsm_mini import read_ddsm_mini
from training.datasets.dicom_folder import read_dicom_folder
from training.datasets.example import Example, Reader, example_of
from training.datasets.inbreast import read_inbreast
from training.datasets.mias import read_mias
from training.datasets.mini_mias import read_mini_mias
from training.datasets.pcam import read_pcam
from training.datasets.phantoms import SOURCE as PHANTOMS
from training.datasets.phantoms import phantom_records
from training.datasets.record import Split
from training.datasets.rsna_mammography import read_rsna_mammography
from training.datasets.tables import DataSetFault
from training.datasets.uploads import read_uploads
from training.datasets.vindr_mammo import read_vindr_mammo

READERS: Mapping[str, Reader] = {
    "bcss": read_bcss,
    "brain_mri": read_brain_mri,
    "breakhis": read_breakhis,
    "cbis_ddsm": read_cbis_ddsm,
    "cdd_cesm": lambda folder: [example_of(record) for record in read_cdd_cesm(folder)],
    "cdd_cesm_tcia": read_cdd_cesm_tcia,
    "ddsm": read_ddsm,
    "ddsm_mini": lambda folder: [example_of(record) for record in read_ddsm_mini(folder)],
    "dicom_folder": read_dicom_folder,
    "inbreast": read_inbreast,
    "mias": lambda folder: [example_of(record) for record in read_mias(folder)],
    "mini_mias": read_mini_mias,
    "pcam": read_pcam,
    "rsna_mammography": read_rsna_mammography,
    "uploads": read_uploads,
    "vindr_mammo": read_vindr_mammo,
}
"""Readers; each set is a folder of that name in the data folder."""


def read_examples(names: Sequence[str], data: Path | None, phantoms: int = 0) -> list[Example]:
    """List the images of several sets.

    Parameters
    ----------
    names
        Keys of `READERS`, and ``phantoms`` for generated studies.
    data
        Folder that holds one folder per set; may be absent when phantoms alone are named.
    phantoms
        Number of generated women in each part.

    Raises
    ------
    DataSetFault
        When a set is unknown, not there, or faulty.
    """
    examples: list[Example] = []
    for name in names:
        if name == PHANTOMS:
            examples.extend(_phantoms(phantoms))
        else:
            examples.extend(_real(name, data))
    return examples


def _real(name: str, data: Path | None) -> list[Example]:
    if name not in READERS:
        raise DataSetFault(f"There is no data set {name}; choose among {', '.join(READERS)}.")
    if data is None:
        raise DataSetFault(f"The task reads {name}; give --data, the folder that holds the sets.")
    folder = data / name
    if not folder.is_dir():
        raise DataSetFault(f"There is no {folder}; point --data at the folder that holds {name}.")
    return READERS[name](folder)


def _phantoms(women: int) -> list[Example]:
    firsts = {Split.TRAIN: 10_000, Split.VAL: 20_000, Split.TEST: 30_000}
    return [
        example_of(record, {"view": str(record.view), "laterality": str(record.laterality)})
        for split, first in firsts.items()
        for record in phantom_records(range(first, first + women), split)
    ]
