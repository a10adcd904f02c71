"""``dicomweb-client``, as a program of someone else, works against our DICOMweb."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from api_builders import make_parts, serving
from conftest import opened
from dicomweb_builder import GREY, HeldStudy, hold_study
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import Laterality, View

Served = tuple[DICOMwebClient, HeldStudy]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("held")
    for store in opened(f"sqlite:///{folder / 'oncopixel.sqlite'}", folder):
        held = hold_study(store, folder, findings=2)
        with serving(make_parts(store)) as client:
            yield DICOMwebClient(f"{client.base_url}/dicom-web"), held


def image_of(held: HeldStudy) -> tuple[str, str, str]:
    """Study, series and SOP Instance UID of R CC."""
    uid = held.sop_instance_uid(Laterality.RIGHT, View.CC)
    series = next(
        item.facts.series_instance_uid
        for item in held.case.result.images
        if item.facts.sop_instance_uid == uid
    )
    return held.study_instance_uid, series, uid


def test_it_finds_studies_series_and_instances(served: Served) -> None:
    client, held = served
    (found,) = client.search_for_studies(search_filters={"PatientName": "test*"})
    study = Dataset.from_json(found)
    assert study.StudyInstanceUID == held.study_instance_uid
    assert study.ModalitiesInStudy == ["MG", "OT", "SEG", "SR"]
    assert study.NumberOfStudyRelatedInstances == 4 + len(held.objects) == 13
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    series = [Dataset.from_json(item) for item in client.search_for_series(study.StudyInstanceUID)]
    assert [item.Modality for item in series[:4]] == ["MG"] * 4
    assert sum(item.NumberOfSeriesRelatedInstances for item in series) == 13
    instances = client.search_for_instances(
        study.StudyInstanceUID, search_filters={"Modality": "SEG"}, fields=["SeriesDescription"]
    )
    found_seg = [Dataset.from_json(item) for item in instances]
    assert len(found_seg) == 4
    assert {str(item.SeriesDescription)[:6] for item in found_seg} == {"AI SEG"}


def test_metadata_is_the_header_of_the_file(served: Served) -> None:
    client, held = served
    *path, uid = image_of(held)
    found = Dataset.from_json(
        client.retrieve_instance_metadata(*path, uid), lambda *_: b"left behind"
    )
    stored = dcmread(held.case.paths[uid])
    del found.AvailableTransferSyntaxUID, found.PixelData, stored.PixelData
    # JSON is in Unicode, whatever the file is in.
    assert found.SpecificCharacterSet == "ISO_IR 192"
    found.SpecificCharacterSet = stored.SpecificCharacterSet
    assert found == stored
    modalities = [item["00080060"]["Value"][0] for item in client.retrieve_study_metadata(path[0])]
    assert len(modalities) == 13
    assert modalities[:4] == ["MG"] * 4


def test_objects_come_back_byte_for_byte(served: Served) -> None:
    client, held = served
    for uid, path in held.case.paths.items():
        series = dcmread(path).SeriesInstanceUID
        fetched = client.retrieve_instance(held.study_instance_uid, series, uid)
        written = BytesIO()
        fetched.save_as(written)
        assert written.getvalue() == path.read_bytes()
    whole = client.retrieve_study(held.study_instance_uid)
    assert {item.SOPInstanceUID for item in whole} == {
        *held.case.paths,
        *(item.sop_instance_uid for item in held.objects),
    }


def test_frames_are_the_stored_pixels(served: Served) -> None:
    client, held = served
    path = image_of(held)
    (frame,) = client.retrieve_instance_frames(
        *path, frame_numbers=[1], media_types=("application/octet-stream",)
    )
    assert frame == dcmread(held.case.paths[path[2]]).PixelData


def test_frames_of_single_bits_are_split(served: Served) -> None:
    client, held = served
    seg = next(item for item in held.case.build() if item.kind == "seg")
    source = seg.dataset
    assert source.BitsAllocated == 1
    assert source.NumberOfFrames == 2
    assert source.Rows * source.Columns % 8 == 0
    frames = client.retrieve_instance_frames(
        source.StudyInstanceUID,
        source.SeriesInstanceUID,
        source.SOPInstanceUID,
        frame_numbers=[1, 2],
        media_types=("application/octet-stream",),
    )
    shape = (source.Rows, source.Columns)
    shown = [
        np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little").reshape(shape)
        for frame in frames
    ]
    assert (np.stack(shown) == source.pixel_array).all()
    assert shown[0].sum() == shown[1].sum() == 144


def test_pictures_are_drawn_through_the_window(served: Served) -> None:
    client, held = served
    path = image_of(held)
    drawn = client.retrieve_instance_rendered(*path, media_types=("image/png",))
    picture = np.asarray(Image.open(BytesIO(drawn)))
    stored = dcmread(held.case.paths[path[2]])
    assert picture.shape == (stored.Rows, stored.Columns)
    # Centre 2047 and width 4096 (PS3.3 C.11.2.1.2.1).
    expected = (stored.pixel_array - 2046.5) / 4095 + 0.5
    assert np.abs(picture - expected * 255).max() <= 1
    narrow = client.retrieve_instance_rendered(
        *path, media_types=("image/png",), params={"window": f"{GREY + 60},20,linear"}
    )
    levels = np.asarray(Image.open(BytesIO(narrow)))
    assert (levels[:, 10] == 0).all()
    assert (levels[:, 60] == 255).all()


def test_bulk_data_is_where_the_metadata_says(served: Served) -> None:
    client, held = served
    path = image_of(held)
    address = client.retrieve_instance_metadata(*path)["7FE00010"]["BulkDataURI"]
    (value,) = client.retrieve_bulkdata(address)
    assert value == dcmread(held.case.paths[path[2]]).PixelData
