"""What DICOMweb gives out: forms that are negotiated, errors, paging, odd files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from api_builders import make_parts, serving
from builders import make_clock
from conftest import Store, opened
from dicomweb_builder import grey
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from report_builders import STUDY_UID, mammogram, save

from oncopixel_pacs.domain import Laterality, View
from oncopixel_pacs.receive.intake import Intake

OCTETS = 'multipart/related; type="application/octet-stream"'
SERIES = "2.25.77"


@dataclass(frozen=True)
class Served:
    """A server with a plain image, two compressed ones and one of three frames in colour."""

    client: httpx.Client
    store: Store
    paths: dict[str, Path]

    def url(self, name: str, below: str = "") -> str:
        return f"/dicom-web/studies/{STUDY_UID}/series/{SERIES}/instances/{UIDS[name]}{below}"

    def get(self, name: str, below: str = "", accept: str = "*/*") -> httpx.Response:
        return self.client.get(self.url(name, below), headers={"Accept": accept})


UIDS = {"plain": "2.25.1", "rle": "2.25.2", "jpegls": "2.25.3", "colour": "2.25.4"}


def images() -> Iterator[tuple[str, Dataset]]:
    for name in ("plain", "rle", "jpegls"):
        image = mammogram(Laterality.RIGHT, View.CC)
        grey(image)
        yield name, image
    image.NumberOfFrames, image.SamplesPerPixel, image.PlanarConfiguration = 3, 3, 0
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    image.PhotometricInterpretation, image.Modality = "RGB", "US"
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    colours = np.zeros((3, image.Rows, image.Columns, 3), np.uint8)
    for frame in range(3):
        colours[frame, :, :, frame] = 200
    image.PixelData = colours.tobytes()
    yield "colour", image


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("held")
    for store in opened(f"sqlite:///{folder / 'oncopixel.sqlite'}", folder):
        intake = Intake(store.files, store.catalogue, make_clock())
        paths = {}
        for name, image in images():
            image.SOPInstanceUID, image.SeriesInstanceUID = UIDS[name], SERIES
            path = save(image, folder)
            stored = dcmread(path)
            if name in ("rle", "jpegls"):
                stored.compress(
                    RLELossless if name == "rle" else JPEGLSLossless, generate_instance_uid=False
                )
                stored.save_as(path)
            intake.accept_file(path, "MODALITY")
            paths[name] = path
        with serving(make_parts(store)) as client:
            yield Served(client, store, paths)


def parts_of(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Media type and bytes of each part."""
    assert answer.status_code == 200, answer.text
    boundary = answer.headers["content-type"].partition('boundary="')[2].partition('"')[0]
    found = []
    for part in answer.content.split(f"--{boundary}".encode())[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        media_type = next(
            line.partition(b": ")[2] for line in head.splitlines() if line.startswith(b"Content-T")
        )
        found.append((media_type.decode(), body[:-2]))
    return found


# --- forms ---


@pytest.mark.parametrize("name", ["rle", "jpegls"])
def test_frames_are_decoded_unless_any_syntax_is_accepted(served: Served, name: str) -> None:
    plain = dcmread(served.paths["plain"]).PixelData
    ((media_type, frame),) = parts_of(served.get(name, "/frames/1", OCTETS))
    assert media_type == f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"
    assert frame == plain
    stored = dcmread(served.paths[name])
    syntax = stored.file_meta.TransferSyntaxUID
    ((media_type, frame),) = parts_of(served.get(name, "/frames/1", f"{OCTETS}; transfer-syntax=*"))
    assert media_type == f"application/octet-stream; transfer-syntax={syntax}"
    assert frame.rstrip(b"\0") in stored.PixelData
    assert served.get(name, "/frames/1", "application/octet-stream").content == plain


def test_frames_in_their_own_media_type(served: Served) -> None:
    ((media_type, frame),) = parts_of(
        served.get("jpegls", "/frames/1", 'multipart/related; type="image/jls"')
    )
    assert media_type == "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80"
    assert frame[:2] == b"\xff\xd8"
    assert served.get("jpegls", "/frames/1", "image/jls").content == frame
    assert served.get("plain", "/frames/1", "image/jls").status_code == 406


def test_some_frames_of_many_in_the_order_that_is_asked(served: Served) -> None:
    stored = dcmread(served.paths["colour"]).pixel_array
    frames = [part for _, part in parts_of(served.get("colour", "/frames/3,1", OCTETS))]
    assert frames == [stored[2].tobytes(), stored[0].tobytes()]


@pytest.mark.parametrize("name", ["plain", "rle", "jpegls", "colour"])
def test_an_object_is_given_as_stored_or_in_explicit_little_endian(
    served: Served, name: str
) -> None:
    as_stored = served.get(name, accept="application/dicom; transfer-syntax=*")
    assert as_stored.content == served.paths[name].read_bytes()
    decoded = dcmread(BytesIO(served.get(name, accept="application/dicom").content))
    assert decoded.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    original = dcmread(served.paths["plain" if name in ("rle", "jpegls") else name])
    assert (decoded.pixel_array == original.pixel_array).all()
    assert decoded.SOPInstanceUID == UIDS[name]


def test_every_object_of_a_study_comes_in_one_answer(served: Served) -> None:
    answer = served.client.get(
        f"/dicom-web/studies/{STUDY_UID}",
        headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
    )
    found = {dcmread(BytesIO(body)).SOPInstanceUID for _, body in parts_of(answer)}
    assert found == set(UIDS.values())


@pytest.mark.parametrize(
    ("below", "accept"),
    [
        ("", "text/plain"),
        ("", 'multipart/related; type="application/zip"'),
        ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"),
        ("", "application/dicom;q=0"),
        ("/metadata", "application/dicom+xml"),
        ("/frames/1", "video/mpeg"),
        ("/frames/1", f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.4.90"),
        ("/frames/1,2/rendered", "image/png"),
        ("/rendered", "image/gif"),
        ("/bulkdata/7FE00010", "image/png"),
    ],
)
def test_what_is_not_given_in_that_form_is_406(served: Served, below: str, accept: str) -> None:
    answer = served.get("plain", below, accept)
    assert answer.status_code == 406
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_accept_parameter_wins_over_the_header(served: Served) -> None:
    answer = served.get("plain", "/rendered?accept=image/png", "image/jpeg")
    assert answer.headers["content-type"] == "image/png"


# --- pictures ---


def test_pictures_fit_and_colour_stays(served: Served) -> None:
    answer = served.get("colour", "/frames/2/rendered?viewport=36,1000", "image/png")
    picture = Image.open(BytesIO(answer.content))
    assert picture.size == (36, 48)
    assert picture.getpixel((10, 10)) == (0, 200, 0)
    for address in (
        f"/dicom-web/studies/{STUDY_UID}/thumbnail",
        f"/dicom-web/studies/{STUDY_UID}/series/{SERIES}/thumbnail",
        served.url("rle", "/thumbnail"),
    ):
        small = Image.open(BytesIO(served.client.get(address).content))
        assert small.format == "JPEG"
        assert max(small.size) <= 128


@pytest.mark.parametrize(
    "query", ["viewport=0,10", "viewport=wide", "window=1", "window=1,0,linear", "window=1,2,cubic"]
)
def test_a_picture_that_cannot_be_meant_is_400(served: Served, query: str) -> None:
    assert served.get("plain", f"/rendered?{query}").status_code == 400


# --- what is not there ---


def test_what_is_not_here_is_404_as_a_problem(served: Served) -> None:
    here = f"/dicom-web/studies/{STUDY_UID}"
    for path in (
        "/dicom-web/studies/1.2.3",
        "/dicom-web/studies/1.2.3/metadata",
        "/dicom-web/studies/1.2.3/series",
        f"{here}/series/1.2.3",
        f"{here}/series/1.2.3/instances",
        f"{here}/series/{SERIES}/instances/1.2.3/metadata",
        f"/dicom-web/studies/1.2.3/series/{SERIES}/instances/{UIDS['plain']}",
        served.url("plain", "/frames/2"),
        served.url("plain", "/bulkdata/00091010"),
        served.url("plain", "/bulkdata/00091010/0/00091011"),
    ):
        answer = served.client.get(path, headers={"Accept": "text/html, */*"})
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
    for path in ("/dicom-web/studies/1..2", "/dicom-web/studies/..%2f/metadata"):
        assert served.client.get(path).status_code in (404, 422)
    assert served.get("plain", "/frames/0").status_code == 422


def test_nothing_can_be_changed_or_removed(served: Served) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        answer = served.client.request(
            method, f"/dicom-web/studies/{STUDY_UID}", headers={"X-Requested-With": "x"}
        )
        assert answer.status_code == 405


# --- searches ---


def test_pages_and_what_the_client_is_told(served: Served) -> None:
    seen = []
    for offset in range(0, 5, 2):
        answer = served.client.get(f"/dicom-web/instances?limit=2&offset={offset}")
        if answer.status_code == 204:
            break
        more = "There are more results" in answer.headers.get("warning", "")
        assert more is (offset == 0)
        seen += [item["00080018"]["Value"][0] for item in answer.json()]
    assert sorted(seen) == sorted(UIDS.values())
    told = served.client.get("/dicom-web/studies?Rows=96&Nonsense=1&fuzzymatching=true")
    assert told.status_code == 200
    for said in ("Rows can be matched below a study", "Nonsense is not a key", "Fuzzy matching"):
        assert said in told.headers["warning"]


@pytest.mark.parametrize(
    "query", ["StudyDate=yesterday", "StudyDate=-", "StudyTime=1", "limit=-1", "offset=x"]
)
def test_a_search_that_cannot_be_understood_is_400(served: Served, query: str) -> None:
    answer = served.client.get(f"/dicom-web/studies?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_below_a_study_any_attribute_is_a_key(served: Served) -> None:
    here = f"/dicom-web/studies/{STUDY_UID}/instances"
    for query, number in (
        ("NumberOfFrames=3", 1),
        ("00280010=96", 4),
        ("Modality=US", 1),
        ("Manufacturer=test*", 4),
        ("Manufacturer=[a-z]*", 0),
        ("SOPInstanceUID=2.25.1,2.25.2", 2),
    ):
        answer = served.client.get(f"{here}?{query}")
        found = answer.json() if answer.status_code == 200 else []
        assert len(found) == number, query


def test_fields_are_added_on_request(served: Served) -> None:
    plain = served.client.get("/dicom-web/studies").json()[0]
    assert "00080070" not in plain
    assert plain["00200010"] == {"vr": "SH", "Value": ["S1"]}
    more = served.client.get("/dicom-web/studies?includefield=Manufacturer,00100021").json()[0]
    assert more["00080070"]["Value"] == ["Test Maker"]
    assert more["00100021"]["Value"] == ["HOSPITAL"]
    everything = served.client.get("/dicom-web/studies?includefield=all").json()[0]
    assert set(more) < set(everything)
    assert "7FE00010" not in everything


# --- odd files ---


def test_a_damaged_image_is_told_and_the_rest_goes_on(store: Store, tmp_path: Path) -> None:
    intake = Intake(store.files, store.catalogue, make_clock())
    image = mammogram(Laterality.LEFT, View.CC)
    image.SOPInstanceUID, image.SeriesInstanceUID = UIDS["plain"], SERIES
    image.PixelData = image.PixelData[:100]
    image.add_new(0x00189327, "FD", float("nan"))
    image.PatientName = 'M\\\\x^"><script>'
    intake.accept_file(save(image, tmp_path), "MODALITY")
    gone = mammogram(Laterality.RIGHT, View.CC)
    gone.SOPInstanceUID, gone.SeriesInstanceUID = UIDS["rle"], SERIES
    intake.accept_file(save(gone, tmp_path), "MODALITY")
    uid = gone.SOPInstanceUID
    row = next(
        item
        for item in store.catalogue.study(STUDY_UID).instances
        if item.facts.sop_instance_uid == uid
    )
    store.files.absolute(row.path).unlink()
    with serving(make_parts(store)) as client:
        served = Served(client, store, {})
        for below in ("/frames/1", "/rendered", "/thumbnail"):
            answer = served.get("plain", below)
            assert answer.status_code == 406
            assert "cannot be decoded" in answer.json()["detail"]
        assert served.get("plain", accept="application/dicom").status_code == 200
        assert served.get("rle", "/frames/1").status_code == 404
        metadata = client.get(f"/dicom-web/studies/{STUDY_UID}/metadata").json()
        assert {item["00080018"]["Value"][0] for item in metadata} == {UIDS["plain"], uid}
        assert "00189327" not in next(item for item in metadata if "00280010" in item)
        assert client.get("/dicom-web/studies").status_code == 200
