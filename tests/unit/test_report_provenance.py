"""Who made a result object."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.report.provenance import (
    IMPLEMENTATION_CLASS_UID,
    file_meta,
    parameters,
    sign,
)
from tests.report_builders import CLASSIFIER, PROVENANCE, SEGMENTER


@pytest.mark.parametrize(
    "changed",
    [
        replace(SEGMENTER, weights_sha256="f" * 64),
        replace(SEGMENTER, preprocessing_sha256="f" * 64),
        replace(SEGMENTER, threshold=0.51),
        replace(SEGMENTER, outline_threshold=0.4),
        replace(SEGMENTER, configuration_sha256="f" * 64),
    ],
)
def test_device_uid_and_digest_change_with_weights_preprocessing_and_threshold(changed) -> None:
    other = replace(PROVENANCE, algorithms=(CLASSIFIER, changed))
    assert PROVENANCE.device_uid(SEGMENTER) != other.device_uid(changed)
    assert PROVENANCE.digest != other.digest
    assert PROVENANCE.serial_number != other.serial_number


def test_objects_say_down_to_which_probability_a_finding_reaches() -> None:
    stated = parameters(replace(SEGMENTER, outline_threshold=0.4), PROVENANCE)
    assert stated["operating_point"] == "segment called at probability >= 0.5, outlined at >= 0.4"


def test_objects_say_what_the_bundle_stated_beside_its_weights() -> None:
    stated = parameters(replace(SEGMENTER, configuration_sha256="f" * 64), PROVENANCE)
    assert stated["configuration_sha256"] == "f" * 64
    assert "configuration_sha256" not in parameters(SEGMENTER, PROVENANCE)


def test_device_uid_changes_with_the_software() -> None:
    newer = replace(PROVENANCE, software_version="0.2.0")
    assert newer.device_uid(SEGMENTER) != PROVENANCE.device_uid(SEGMENTER)


def test_time_is_no_part_of_the_digest() -> None:
    later = replace(PROVENANCE, created_at=PROVENANCE.created_at.replace(hour=23))
    assert later.digest == PROVENANCE.digest


def test_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="pass UTC"):
        replace(PROVENANCE, created_at=datetime(2026, 1, 1))


def test_algorithm_is_found_by_task() -> None:
    assert PROVENANCE.algorithm(ModelTask.CLASSIFY) is CLASSIFIER
    assert replace(PROVENANCE, algorithms=()).algorithm(ModelTask.CLASSIFY) is None


@pytest.mark.parametrize(
    ("offset", "date", "clock"),
    [
        (None, "20260110", "110000"),
        ("+0200", "20260110", "130000"),
        ("-1130", "20260109", "233000"),
    ],
)
def test_times_follow_the_zone_that_the_source_states(offset, date, clock) -> None:
    header, dataset = Dataset(), Dataset()
    if offset:
        header.TimezoneOffsetFromUTC = offset
    sign(dataset, header, PROVENANCE)
    assert (dataset.ContentDate, dataset.ContentTime) == (date, clock)
    assert dataset.get("TimezoneOffsetFromUTC") == offset


@pytest.fixture
def central_europe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand the server in Berlin."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("central_europe")
@pytest.mark.parametrize(
    ("created_at", "date", "clock"),
    [
        (datetime(2026, 1, 10, 23, 30, tzinfo=UTC), "20260111", "003000"),
        (datetime(2026, 7, 10, 21, 30, tzinfo=UTC), "20260710", "233000"),
    ],
    ids=["winter", "summer"],
)
def test_times_are_local_where_the_source_states_no_zone(
    created_at: datetime, date: str, clock: str
) -> None:
    """As those of all other objects of the study: a viewer sorts them by these."""
    dataset = Dataset()
    sign(dataset, Dataset(), replace(PROVENANCE, created_at=created_at))
    assert (dataset.ContentDate, dataset.ContentTime) == (date, clock)
    assert "TimezoneOffsetFromUTC" not in dataset


def test_each_algorithm_is_contributing_equipment() -> None:
    dataset = Dataset()
    sign(dataset, Dataset(), PROVENANCE)
    equipment = dataset.ContributingEquipmentSequence
    assert [item.ManufacturerModelName for item in equipment] == [CLASSIFIER.name, SEGMENTER.name]
    assert equipment[1].DeviceUID == PROVENANCE.device_uid(SEGMENTER)
    assert equipment[1].SoftwareVersions == [SEGMENTER.version, "0.1.0"]
    assert equipment[0].ContributionDateTime == "20260110110000+0000"
    assert dataset.SoftwareVersions[0] == "OncoPixel PACS 0.1.0"


def test_file_meta_information_names_our_implementation() -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.3", "1.2.4"
    meta = file_meta(dataset, ExplicitVRLittleEndian, "12.345.6789-rc1")
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == "ONCOPIXEL 12.345"
