"""The public sets and the generated phantoms, one file each, all handing out `Record`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from training.datasets.cdd_cesm import read_cdd_cesm
from training.datasets.ddsm_mini import read_ddsm_mini
from training.datasets.mias import read_mias
from training.datasets.record import Record, Split
from training.datasets.tables import DataSetFault

REAL_SETS: Mapping[str, Callable[[Path], Sequence[Record]]] = {
    "mias": read_mias,
    "ddsm_mini": read_ddsm_mini,
    "cdd_cesm": read_cdd_cesm,
}
"""Readers of the real sets; each set is a folder of that name in the data folder."""

__all__ = ["REAL_SETS", "DataSetFault", "Record", "Split", "read_real_set"]


def read_real_set(name: str, data: Path) -> Sequence[Record]:
    """List the images of one real set.

    Parameters
    ----------
    name
        Key of `REAL_SETS`.
    data
        Folder that holds the sets.

    Raises
    ------
    DataSetFault
        When the set is unknown, not there, or faulty.
    """
    if name not in REAL_SETS:
        raise DataSetFault(f"There is no data set {name}; choose among {', '.join(REAL_SETS)}.")
    folder = data / name
    if not folder.is_dir():
        raise DataSetFault(f"There is no {folder}; point --data at the folder that holds {name}.")
    return REAL_SETS[name](folder)
