"""A screening study with a mass in each view, and the same study seen in a mirror.

In the mirror every picture is flipped, a right breast is a left one, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from mammogram_builder import COLUMNS, ROWS, SCREENING, View2D, pixels_of, write_mammogram
from pydicom import dcmread

from oncopixel_pacs.domain import Laterality, ObjectKind, StudyResult, View
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.infer.label_maps import read_label_map
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage, read_study
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.provenance import Provenance
from oncopixel_pacs.report.result_objects import Maps, build_result_objects
from tests.unit.test_infer_reading import models

Place = tuple[int, int]
Name = tuple[Laterality, View]
RADIUS = 24
OTHER = {Laterality.LEFT: Laterality.RIGHT, Laterality.RIGHT: Laterality.LEFT}
ORIENTATION = {Laterality.LEFT: ["A", "R"], Laterality.RIGHT: ["P", "L"]}
# Each in another place, so that no view can be taken for another; rows and columns as in a left
# breast, whose chest wall lies at column 0.
PLACES: Mapping[Name, Place] = {
    (Laterality.RIGHT, View.CC): (180, 80),
    (Laterality.LEFT, View.CC): (300, 100),
    (Laterality.RIGHT, View.MLO): (240, 130),
    (Laterality.LEFT, View.MLO): (200, 110),
}


@dataclass(frozen=True)
class ReadStudy:
    """A study on disk that was read from pixels to findings.

    Attributes
    ----------
    masses
        Where a mass was drawn: stored ``(row, column)`` by side and view.
    """

    result: StudyResult
    paths: Mapping[str, Path]
    labels_dir: Path
    masses: Mapping[Name, Place]

    def build(self, *wanted: ObjectKind) -> tuple[BuiltObject, ...]:
        """Build its result objects."""
        created = datetime(2026, 1, 10, 11, 0, tzinfo=UTC)
        maps = Maps(lambda uid: read_label_map(self.labels_dir, uid))
        provenance = Provenance(self.result.algorithms, "0.1.0", created, "cpu")
        return build_result_objects(
            self.result, self.paths, maps, provenance, lambda _uid: None, wanted=wanted
        )

    def sop_instance_uid(self, name: Name) -> str:
        """SOP Instance UID of a view."""
        (uid,) = (
            item.facts.sop_instance_uid
            for item in self.result.images
            if (item.facts.laterality, item.facts.view) == name
        )
        return uid


def read_screening(
    folder: Path, places: Mapping[Name, Place] = PLACES, *, mirrored: bool = False
) -> ReadStudy:
    """Write the four views, each with its mass, and read them."""
    folder.mkdir(exist_ok=True)
    paths, images, masses = {}, [], {}
    for view in SCREENING:
        path, mass, name = _write(folder, view, places[view.laterality, view.view], mirrored)
        facts = read_mammogram(path).facts
        assert (facts.laterality, facts.view) == name
        paths[facts.sop_instance_uid] = path
        images.append(RequestedImage(facts, path))
        masses[name] = mass
    labels = folder / "labels"
    study_uid = images[0].facts.study_instance_uid
    result = read_study(AnalysisRequest(study_uid, 1, tuple(images), labels), models())
    return ReadStudy(result, paths, labels, masses)


def mirror(place: Place) -> Place:
    """Give the place in the flipped picture."""
    return place[0], COLUMNS - 1 - place[1]


def _write(folder: Path, view: View2D, place: Place, mirrored: bool) -> tuple[Path, Place, Name]:
    path = write_mammogram(folder, view)
    # As a left breast; the builder flips a right one.
    pixels = pixels_of(replace(view, mass=False, laterality=Laterality.LEFT)).astype(int)
    row, column = np.mgrid[:ROWS, :COLUMNS]
    pixels[(row - place[0]) ** 2 + (column - place[1]) ** 2 < RADIUS**2] += 1800
    side = OTHER[view.laterality] if mirrored else view.laterality
    if side is Laterality.RIGHT:
        pixels, place = pixels[:, ::-1], mirror(place)
    image = dcmread(path)
    image.PixelData = pixels.clip(0, 4095).astype(np.uint16).tobytes()
    image.ImageLaterality, image.PatientOrientation = str(side), ORIENTATION[side]
    image.PatientName, image.PatientID = ("Mirror^Two" if mirrored else "Mirror^One"), "M"
    if mirrored:
        image.StudyInstanceUID, image.SOPInstanceUID = "2.25.2000", f"2.25.2000{view.number}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.SeriesInstanceUID = f"{image.StudyInstanceUID}.{view.number}"
    image.save_as(path)
    return path, place, (side, view.view)
