"""Copies of a picture, found by their look.

A perceptual hash is the sign of the 63 lowest frequencies of a picture of 32 x 32 against their
median (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010).
Re-encoding and resizing change few bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from oncopixel_pacs.imaging.geometry import area_resample
from training.datasets.example import Example, Pixels

NEAR_BITS = 4
_SIDE, _KEPT, _CHUNK = 32, 8, 512


def perceptual_hash(image: Pixels) -> int:
    """Hash of 63 bits of a picture ``(channels, rows, columns)``."""
    small = area_resample(np.ascontiguousarray(image.mean(axis=0)), (_SIDE, _SIDE))
    low = dctn(small, norm="ortho")[:_KEPT, :_KEPT].ravel()[1:]
    bits = low > np.median(low)
    return int("".join("1" if bit else "0" for bit in bits), 2)


def groups_of_copies(hashes: Sequence[int], near_bits: int = NEAR_BITS) -> NDArray[np.intp]:
    """Give pictures whose hashes differ by at most `near_bits` one group, transitively.

    Returns
    -------
    ndarray
        Group of each picture; those of one group are copies.
    """
    values = np.array(hashes, dtype=np.uint64)
    parent = np.arange(len(values))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = int(parent[index])
        return index

    for start in range(0, len(values), _CHUNK):
        block = values[start : start + _CHUNK]
        near = np.bitwise_count(block[:, None] ^ values[None, :]) <= near_bits
        for row, column in zip(*np.nonzero(near), strict=True):
            one, other = root(start + int(row)), root(int(column))
            parent[max(one, other)] = min(one, other)
    return np.array([root(index) for index in range(len(values))], dtype=np.intp)


def copies_as_patients(examples: Sequence[Example]) -> list[str]:
    """Name a group for each picture: its patient, joined over copies.

    Pictures of one patient share a group, and so do copies, whatever their patients are called.
    """
    copies = groups_of_copies([perceptual_hash(example.image()) for example in examples])
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    for example, number in zip(examples, copies, strict=True):
        one, other = root(patient_of(example)), root(f"copies {number}")
        parent[max(one, other)] = min(one, other)
    return [root(patient_of(example)) for example in examples]


def patient_of(example: Example) -> str:
    """Name of the patient that is unique over all sets."""
    return f"{example.source}/{example.patient}"
