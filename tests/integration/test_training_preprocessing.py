"""Training and serving see the same pixels, bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oncopixel_pacs.domain import Laterality, View
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.imaging.preprocess import Preprocessing, prepare
from sample_dicom.study import make_study
from training.datasets import Split
from training.datasets.phantoms import PhantomRecord
from training.prepared import load_samples


@pytest.mark.parametrize("diseased", [True, False])
def test_a_phantom_is_prepared_alike_from_its_file_and_in_memory(
    tmp_path: Path, diseased: bool
) -> None:
    records = [
        PhantomRecord(3, laterality, view, diseased, Split.TEST)
        for laterality in Laterality
        for view in (View.CC, View.MLO)
    ]
    trained = {
        (record.laterality, record.view): sample
        for record, sample in zip(
            records, load_samples(records, Preprocessing(), tmp_path / "cache"), strict=True
        )
    }

    for image in make_study(3, lesion=diseased):
        path = tmp_path / "image.dcm"
        image.dataset.save_as(path, enforce_file_format=True)
        mammogram = read_mammogram(path)
        facts = mammogram.facts
        assert facts.spacing_mm is not None and facts.laterality and facts.view
        served = prepare(mammogram.pixels, facts.spacing_mm)
        sample = trained[facts.laterality, facts.view]
        assert np.array_equal(served.image[0], sample.image)
        assert served.image.dtype == sample.image.dtype == np.float32
        assert np.array_equal(served.breast, sample.breast)
        assert sample.lesions is not None
        assert np.array_equal(served.geometry.mask_to_model(image.lesion_mask), sample.lesions)
        assert sample.lesions.any() == sample.malignant


def test_the_cache_returns_what_was_prepared(tmp_path: Path) -> None:
    record = PhantomRecord(4, Laterality.LEFT, View.CC, True, Split.TEST)

    (fresh,) = load_samples([record], Preprocessing(), tmp_path)
    (cached,) = load_samples([record], Preprocessing(), tmp_path)

    assert np.array_equal(fresh.image, cached.image)
    assert (fresh.key, fresh.patient, fresh.malignant) == (
        cached.key,
        cached.patient,
        cached.malignant,
    )
