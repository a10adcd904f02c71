"""Parameters of a search, as clients write them."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import HTTPException
from pydicom.dataset import Dataset
from starlette.datastructures import QueryParams

from oncopixel_pacs.api.dicomweb.query import (
    INDEXED_KEYS,
    MOST_RESULTS,
    USUAL_RESULTS,
    Query,
    matches,
    read_query,
)


def query(text: str, **path: str) -> Query:
    return read_query(QueryParams(text), path)


@pytest.mark.parametrize(
    ("text", "attribute", "value"),
    [
        ("PatientName=DOE*", "texts", {"patient_name": "DOE*"}),
        ("00100020=P-1", "texts", {"patient_id": "P-1"}),
        ("PatientName=*", "texts", {}),
        ("PatientName=", "texts", {}),
        ("StudyDate=20250301", "ranges", {"study_date": ("20250301", "20250301")}),
        ("StudyDate=20250301-", "ranges", {"study_date": ("20250301", "")}),
        ("StudyDate=-20250301", "ranges", {"study_date": ("", "20250301")}),
        ("StudyTime=10:15-1130", "ranges", {"study_time": ("1015", "1130")}),
        ("StudyInstanceUID=1.2,1.3", "study_instance_uids", ("1.2", "1.3")),
        ("StudyInstanceUID=1.2%5C1.3", "study_instance_uids", ("1.2", "1.3")),
        ("0020000D=1.2&StudyInstanceUID=1.3", "study_instance_uids", ("1.2", "1.3")),
        ("ModalitiesInStudy=MG", "modalities_in_study", ("MG",)),
        ("SOPClassUID=1.2", "sop_class_uids", ("1.2",)),
    ],
)
def test_keys_become_criteria(text: str, attribute: str, value: Any) -> None:
    found = query(text)
    assert getattr(found.criteria, attribute) == value
    assert (found.further, found.warnings) == ({}, ())


def test_the_path_wins_over_parameters() -> None:
    found = query("StudyInstanceUID=9.9", StudyInstanceUID="1.2")
    assert found.criteria.study_instance_uids == ("1.2",)


def test_what_is_not_indexed_is_left_for_the_headers() -> None:
    found = query("Manufacturer=ACME&00200011=4")
    assert found.further == {"Manufacturer": "ACME", "SeriesNumber": "4"}
    assert not set(found.further) & INDEXED_KEYS


def test_what_is_no_key_is_told() -> None:
    (warning,) = query("Shoe=42&accept=application/json").warnings
    assert "Shoe" in warning
    assert len(query("00400275.00080050=A&DEADBEEF=1&00090010=x").warnings) == 3


def test_fields_and_pages() -> None:
    found = query("includefield=Manufacturer,00080090&includefield=Nonsense&limit=7&offset=3")
    assert found.include == ("Manufacturer", "ReferringPhysicianName")
    assert (found.everything, found.limit, found.offset) == (False, 7, 3)
    everything = query("includefield=all&limit=100000")
    assert (everything.everything, everything.limit) == (True, MOST_RESULTS)


def test_of_all_studies_fewer_are_told_unless_more_are_asked_for() -> None:
    assert query("PatientID=P-1").limit == USUAL_RESULTS
    assert query("", StudyInstanceUID="1.2.3").limit == MOST_RESULTS


@pytest.mark.parametrize(
    "text", ["limit=x", "offset=-1", "StudyDate=2025", "StudyTime=-", "limit=1e3"]
)
def test_what_cannot_be_meant_is_400(text: str) -> None:
    with pytest.raises(HTTPException) as refused:
        query(text)
    assert refused.value.status_code == 400


def test_headers_are_compared_with_wildcards_and_lists() -> None:
    header = Dataset()
    header.Manufacturer, header.SeriesNumber = "ACME [West]", 4
    header.ImageType = ["DERIVED", "PRIMARY"]
    for fits in (
        {"Manufacturer": "acme*"},
        {"Manufacturer": "ACME [West]"},
        {"SeriesNumber": "4"},
        {"ImageType": "PRIMARY"},
        {"Manufacturer": "A*", "ImageType": "DERIVED"},
    ):
        assert matches(header, fits), fits
    for fails in ({"Manufacturer": "[A-Z]*"}, {"SeriesNumber": "5"}, {"Laterality": "L"}):
        assert not matches(header, fails), fails


def test_headers_are_compared_with_ranges_of_dates_and_times_and_with_lists_of_uids() -> None:
    # PS3.18 Table 10.6.1-5 has clients ask for these of a series; without a word 204 was answered.
    header = Dataset()
    header.PerformedProcedureStepStartDate = "20250301"
    header.PerformedProcedureStepStartTime = "101530.25"
    header.FrameOfReferenceUID = "1.2.3"
    date, time = "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"
    for fits in (
        {date: "20250101-20250331"},
        {date: "20250301-"},
        {date: "-20250301"},
        {date: "20250301"},
        {time: "10:15-1130"},
        {time: "1015"},
        {"FrameOfReferenceUID": "1.2,1.2.3"},
    ):
        assert matches(header, fits), fits
    for fails in (
        {date: "20250302-"},
        {date: "-20250228"},
        {time: "1016-"},
        {"SeriesDate": "20250101-"},
        {"FrameOfReferenceUID": "1.2,1.3"},
    ):
        assert not matches(header, fails), fails
    with pytest.raises(HTTPException):
        query(f"{date}=yesterday", StudyInstanceUID="1.2")
    assert query(f"{date}=yesterday").further == {date: "yesterday"}
