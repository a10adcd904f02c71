"""DDSM as published: cases with an ``.ics`` file, lossless JPEG films and ``.OVERLAY`` outlines.

Heath et al., IWDM 2000; the formats are described on the archive's own page, "DDSM: file
formats". The digitiser goes with the pathology in many volumes, so it is among the facts.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
from imagecodecs import JpegError, LjpegError, ljpeg_decode

from training.datasets.example import Classes, Example, Pixels
from training.datasets.pictures import Point, drawn, grey_picture
from training.datasets.tables import DataSetFault

SOURCE = "ddsm"
_FILM = re.compile(
    r"^(LEFT|RIGHT)_(CC|MLO)\s+LINES\s+(\d+)\s+PIXELS_PER_LINE\s+(\d+)\s+BITS_PER_PIXEL\s+(\d+)"
    r"\s+RESOLUTION\s+([\d.]+)\s+(OVERLAY|NON_OVERLAY)\s*$"
)
_STEPS = ((0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1))
"""Chain code: steps ``(column, row)`` for 0 (up), then clockwise."""
_PICTURES = (".png", ".tif", ".jpg", ".LJPEG")
_RANK = {"MALIGNANT": 2, "BENIGN": 1, "BENIGN_WITHOUT_CALLBACK": 1, "UNPROVEN": 1}


def read_ddsm(folder: Path) -> list[Example]:
    """List the films of every case below `folder`; a film may be ``.LJPEG`` or decoded already.

    Raises
    ------
    DataSetFault
        When no case is there, or a film, a header or an outline cannot be read.
    """
    cases = sorted(folder.rglob("*.ics"))
    if not cases:
        raise DataSetFault(f"There is no .ics file below {folder}; is it the folder of DDSM?")
    return [example for case in cases for example in _case(case)]


def _case(header: Path) -> list[Example]:
    lines = header.read_text(encoding="latin-1").splitlines()
    entries = {line.split()[0].lower(): line.split()[1:] for line in lines if line.split()}
    case = header.stem.replace("-", "_")
    films = [match for line in lines if (match := _FILM.match(line.strip()))]
    if not films:
        raise DataSetFault(f"{header} describes no film; download the case again.")
    shared = {
        "density": " ".join(entries.get("density", ["unknown"])),
        "age": " ".join(entries.get("patient_age", ["unknown"])),
        "digitizer": " ".join(entries.get("digitizer", ["unknown"])),
    }
    return [_film(header, case, match, shared) for match in films]


def _film(header: Path, case: str, line: re.Match[str], shared: dict[str, str]) -> Example:
    name = f"{case}.{line[1]}_{line[2]}"
    path = next(
        (found for end in _PICTURES if (found := header.parent / f"{name}{end}").is_file()), None
    )
    if path is None:
        raise DataSetFault(f"There is no {name}.LJPEG beside {header}; the case is incomplete.")
    overlay = header.parent / f"{name}.OVERLAY"
    if line[7] == "OVERLAY" and not overlay.is_file():
        raise DataSetFault(f"There is no {overlay.name} beside {header}; the case is incomplete.")
    outlined = overlay if line[7] == "OVERLAY" else None
    pathologies, lesions, _ = _overlay(outlined)
    rank = max((_RANK.get(word, 0) for word in pathologies), default=0)
    shape = (int(line[3]), int(line[4]))
    spacing = float(line[6]) / 1000.0
    return Example(
        source=SOURCE,
        key=name,
        patient=_patient(case),
        label=("normal", "benign", "malignant")[rank],
        split=None,
        files=(path, header, *([overlay] if outlined else [])),
        read_image=partial(_pixels, path, shape),
        read_mask=partial(_mask, path, outlined, shape),
        spacing_mm=(spacing, spacing),
        facts={
            **shared,
            "view": line[2],
            "laterality": line[1],
            "lesion": "+".join(sorted(lesions)) or "none",
        },
    )


def _patient(case: str) -> str:
    # A_1123_1: volume letter, patient, visit.
    return case.rsplit("_", 1)[0]


def _overlay(path: Path | None) -> tuple[list[str], set[str], list[list[Point]]]:
    """Pathologies, kinds of lesion and outlines (in pixels of the film) of an overlay."""
    if path is None:
        return [], set(), []
    pathologies, lesions, outlines = [], set(), []
    waiting = False
    for line in path.read_text(encoding="latin-1").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "PATHOLOGY":
            pathologies.append(words[1])
        elif words[0] == "LESION_TYPE":
            lesions.add(words[1].lower())
        elif words[0] in ("BOUNDARY", "CORE"):
            waiting = words[0] == "BOUNDARY"
        elif waiting and words[0].isdigit():
            outlines.append(_outline(words, path))
            waiting = False
    unknown = [word for word in pathologies if word not in _RANK]
    if not pathologies or unknown:
        raise DataSetFault(
            f"{path}: PATHOLOGY is {(unknown or ['missing'])[0]!r}; expected {' or '.join(_RANK)}."
        )
    return pathologies, lesions, outlines


def _outline(words: list[str], path: Path) -> list[Point]:
    try:
        column, row, *steps = [int(word) for word in words if word != "#"]
        points = [(float(column), float(row))]
        for step in steps:
            across, down = _STEPS[step]
            column, row = column + across, row + down
            points.append((float(column), float(row)))
    except (IndexError, ValueError) as exc:
        raise DataSetFault(f"{path} holds a broken chain code; download it again.") from exc
    return points


def _pixels(path: Path, shape: tuple[int, int]) -> Pixels:
    if path.suffix != ".LJPEG":
        return grey_picture(path)
    try:
        stored = np.asarray(ljpeg_decode(path.read_bytes()))
    except (JpegError, LjpegError, ValueError) as exc:
        raise DataSetFault(
            f"{path} cannot be decoded as lossless JPEG; convert it to PNG beside it."
        ) from exc
    # The archive's encoder wrote two bytes per value as two components, the high one first.
    if stored.ndim == 3 and stored.shape[2] == 2:
        stored = stored[..., 0].astype(np.uint16) * 256 + stored[..., 1]
    values = stored.reshape(shape).astype(np.float32)
    low, high = np.quantile(values, (0.001, 0.999))
    shown: Pixels = np.clip((values - low) / max(float(high - low), 1.0), 0.0, 1.0)[None]
    return shown


def _mask(path: Path, overlay: Path | None, shape: tuple[int, int]) -> Classes:
    _, _, outlines = _overlay(overlay)
    if path.suffix == ".LJPEG":
        return drawn(shape, outlines)
    # Decoded films are often published smaller than the film that the outline was drawn on.
    rows, columns = grey_picture(path).shape[1:]
    across, down = columns / shape[1], rows / shape[0]
    return drawn((rows, columns), [[(x * across, y * down) for x, y in line] for line in outlines])
