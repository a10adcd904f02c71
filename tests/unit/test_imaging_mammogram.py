"""What a radiologist would see, whatever the polarity, window or codec of the file."""

import copy
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from oncopixel_pacs.domain import Reason
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.codestream import codestream_size
from oncopixel_pacs.imaging.grayscale import present
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.imaging.overlay import render_overlay
from sample_dicom.study import make_study

ROWS, COLUMNS = 256, 208


@pytest.fixture(scope="module")
def made() -> Dataset:
    return make_study(4, lesion=False, rows=ROWS, columns=COLUMNS)[1].dataset


@pytest.fixture
def dataset(made: Dataset) -> Dataset:
    return copy.deepcopy(made)


def stored(dataset: Dataset) -> np.ndarray:
    return np.frombuffer(dataset.PixelData, "<u2").reshape(ROWS, COLUMNS)


def read(dataset: Dataset, folder: Path) -> np.ndarray:
    path = folder / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return read_mammogram(path).pixels


def compress(dataset: Dataset, syntax: str, codestream: bytes) -> None:
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax


def test_rows_come_first_and_air_is_dark(dataset, tmp_path) -> None:
    pixels = read(dataset, tmp_path)
    assert pixels.shape == (ROWS, COLUMNS)
    assert pixels.dtype == np.float32
    assert 0 <= pixels.min() < 0.1 < pixels.max() <= 1
    # The left breast leans on the left border.
    assert pixels[:, :20].mean() > pixels[:, -20:].mean()


@pytest.mark.parametrize("shape", ["INVERSE", None])
def test_monochrome1_is_inverted_once(dataset, tmp_path, shape) -> None:
    usual = read(dataset, tmp_path)
    dataset.PixelData = (4095 - stored(dataset)).astype("<u2").tobytes()
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.PresentationLUTShape = shape
    # The window is not quite symmetric: (x - c + 0.5) / (w - 1).
    assert np.abs(read(dataset, tmp_path) - usual).max() < 1e-3


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", lambda x: np.clip((x - 1999.5) / 999 + 0.5, 0, 1)),
        ("LINEAR_EXACT", lambda x: np.clip((x - 2000) / 1000 + 0.5, 0, 1)),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 2000) / 1000))),
    ],
)
def test_the_first_window_is_applied_as_the_standard_says(
    dataset, tmp_path, function, expected
) -> None:
    dataset.WindowCenter, dataset.WindowWidth = ["2000", "9"], ["1000", "9"]
    dataset.VOILUTFunction = function
    values = stored(dataset).astype(np.float64)
    assert read(dataset, tmp_path) == pytest.approx(expected(values), abs=1e-5)


@pytest.mark.parametrize(
    ("centre", "width"),
    [("2048", "0"), ("2048", None), ("2048", "-4096"), ("60000", "10"), ("-500", "10")],
)
def test_without_a_usable_window_the_values_span_the_range(
    dataset, tmp_path, centre, width
) -> None:
    dataset.WindowCenter, dataset.WindowWidth = centre, width
    pixels = read(dataset, tmp_path)
    assert (pixels.min(), pixels.max()) == (0, 1)


def lut(descriptor: list[int], entries: list[int]) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "SS" if min(descriptor, default=0) < 0 else "US", descriptor)
    item.add_new(0x00283006, "US", entries)
    return item


def test_the_voi_lut_wins_over_the_windows(dataset, tmp_path) -> None:
    dataset.VOILUTSequence = [lut([4096, 0, 12], list(range(4095, -1, -1)))]
    assert read(dataset, tmp_path) == pytest.approx((4095 - stored(dataset)) / 4095, abs=1e-4)


def test_a_voi_lut_maps_what_the_modality_lut_gives(dataset, tmp_path) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-100"
    # The first entry is for -100: entry k stands for stored value k / 2.
    dataset.VOILUTSequence = [lut([8192, -100, 12], [k // 2 for k in range(8192)])]
    assert read(dataset, tmp_path) == pytest.approx(stored(dataset) / 4095, abs=1e-4)


def test_a_voi_lut_of_eight_bits_and_many_entries_is_applied(dataset, tmp_path) -> None:
    dataset.VOILUTSequence = [lut([4096, 0, 8], [k // 16 for k in range(4096)])]
    assert read(dataset, tmp_path) == pytest.approx((stored(dataset) // 16) / 255, abs=1e-4)


@pytest.mark.parametrize("entries", [4096, 256])
def test_a_voi_lut_of_a_big_endian_file_is_turned_round(dataset, tmp_path, entries) -> None:
    bits, step = (12, 1) if entries == 4096 else (8, 16)
    values = np.arange(entries)[::-1].astype("<u2" if bits == 12 else "u1").view("<u2")
    dataset.VOILUTSequence = [lut([entries, 0, bits], [])]
    dataset.PixelData = (stored(dataset) // step).astype(">u2").tobytes()
    dataset.VOILUTSequence[0].add_new(0x00283006, "OW", values.astype(">u2").tobytes())
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    path = tmp_path / "big.dcm"
    dataset.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
    expected = (entries - 1 - np.frombuffer(dataset.PixelData, ">u2")) / (entries - 1)
    assert read_mammogram(path).pixels.ravel() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("descriptor", [[4096, 0, 99], [4096, 0], []])
def test_an_unusable_voi_lut_leaves_it_to_the_window(dataset, tmp_path, descriptor) -> None:
    usual = read(dataset, tmp_path)
    dataset.VOILUTSequence = [lut(descriptor, list(range(4096)))]
    assert (read(dataset, tmp_path) == usual).all()


def test_a_modality_lut_replaces_the_rescale(dataset, tmp_path) -> None:
    usual = read(dataset, tmp_path)
    dataset.PixelData = (4095 - stored(dataset)).astype("<u2").tobytes()
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType
    dataset.ModalityLUTSequence = [lut([4096, 0, 16], list(range(4095, -1, -1)))]
    assert (read(dataset, tmp_path) == usual).all()


@pytest.mark.parametrize("slope", [None, "0"])
def test_a_rescale_that_says_nothing_is_left_out(dataset, tmp_path, slope) -> None:
    usual = read(dataset, tmp_path)
    dataset.RescaleSlope = slope
    assert (read(dataset, tmp_path) == usual).all()


@pytest.mark.parametrize(
    ("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")]
)
@pytest.mark.parametrize("turned", [False, True])
def test_where_two_attributes_contradict_air_is_dark(
    dataset, tmp_path, photometric, shape, turned
) -> None:
    usual = read(dataset, tmp_path)
    if turned:
        dataset.PixelData = (4095 - stored(dataset)).astype("<u2").tobytes()
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = photometric, shape
    assert np.abs(read(dataset, tmp_path) - usual).max() < 1e-3


def test_the_modality_lut_comes_first(dataset, tmp_path) -> None:
    usual = read(dataset, tmp_path)
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-100"
    dataset.WindowCenter, dataset.WindowWidth = str(2 * 2048 - 100), str(2 * 4096)
    assert np.abs(read(dataset, tmp_path) - usual).max() < 1e-3


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("slope", [None, "2"])
def test_a_tall_image_is_presented_as_each_of_its_rows(dataset, function, slope) -> None:
    dataset.VOILUTFunction, dataset.RescaleSlope, dataset.RescaleIntercept = function, slope, "-7"
    # Several times what is transformed at a time, and a rest.
    tall = np.random.default_rng(5).integers(0, 4096, (701, 300)).astype(np.uint16)
    shown = present(tall, dataset)
    rows = np.concatenate([present(tall[row : row + 1], dataset) for row in range(len(tall))])
    np.testing.assert_array_equal(shown, rows)
    assert np.ptp(shown) > 0.7


def test_padding_is_dark(dataset, tmp_path) -> None:
    values = stored(dataset).copy()
    values[:10] = 4000
    dataset.PixelData = values.tobytes()
    dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = 4000, 4005
    assert (read(dataset, tmp_path)[:10] == 0).all()


LOSSLESS = {
    JPEGLosslessSV1: lambda x: imagecodecs.ljpeg_encode(x, bitspersample=16),
    JPEGLossless: lambda x: imagecodecs.ljpeg_encode(x, bitspersample=16),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: lambda x: imagecodecs.jpeg2k_encode(x, codecformat="j2k", reversible=True),
    HTJ2KLossless: imagecodecs.htj2k_encode,
}


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
def test_lossless_codecs_give_back_every_bit(dataset, tmp_path, syntax) -> None:
    usual = read(dataset, tmp_path)
    compress(dataset, syntax, LOSSLESS[syntax](stored(dataset)))
    assert (read(dataset, tmp_path) == usual).all()


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
def test_signed_values_keep_their_sign(dataset, tmp_path, syntax) -> None:
    usual = read(dataset, tmp_path)
    signed = stored(dataset).astype(np.int16) - 2048
    dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "2048"
    dataset.PixelData = signed.tobytes()
    assert (read(dataset, tmp_path) == usual).all()
    # Two's complement in 12 bits, as codecs without a sign store it.
    compress(dataset, syntax, LOSSLESS[syntax](signed.view(np.uint16) & 0xFFF))
    assert (read(dataset, tmp_path) == usual).all()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_values_at_the_high_end_of_their_words_are_moved(
    dataset, tmp_path, signed, compressed
) -> None:
    """Units of old wrote High Bit 15 of 12 bits; masked, nothing but noise was left."""
    usual = read(dataset, tmp_path)
    values = stored(dataset).astype(np.int16)
    if signed:
        values = values - 2048
        dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "2048"
    dataset.HighBit = 15
    dataset.PixelData = values.tobytes()
    assert (read(dataset, tmp_path) == usual).all(), "a High Bit that is not true"
    dataset.PixelData = (values << 4).tobytes()
    if compressed:
        dataset.compress(RLELossless)
    assert (read(dataset, tmp_path) == usual).all()


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\xff\0"])
def test_a_codestream_may_be_padded(dataset, tmp_path, fill) -> None:
    usual = read(dataset, tmp_path)
    compress(dataset, JPEGLosslessSV1, LOSSLESS[JPEGLosslessSV1](stored(dataset)) + fill)
    assert (read(dataset, tmp_path) == usual).all()


def test_eight_bit_jpeg_is_read(dataset, tmp_path) -> None:
    usual = read(dataset, tmp_path)
    eight = (stored(dataset) >> 4).astype(np.uint8)
    compress(dataset, JPEGBaseline8Bit, imagecodecs.jpeg8_encode(eight, level=98))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.WindowCenter, dataset.WindowWidth = "128", "256"
    assert np.abs(read(dataset, tmp_path) - usual).mean() < 0.01


def test_rle_gives_back_every_bit(dataset, tmp_path) -> None:
    usual = read(dataset, tmp_path)
    dataset.compress(RLELossless)
    assert (read(dataset, tmp_path) == usual).all()


def test_twelve_bit_jpeg_is_read(dataset, tmp_path) -> None:
    usual = read(dataset, tmp_path)
    codestream = imagecodecs.jpeg8_encode(stored(dataset), level=98, bitspersample=12)
    compress(dataset, JPEGExtended12Bit, codestream)
    assert np.abs(read(dataset, tmp_path) - usual).mean() < 0.01


def refused(dataset: Dataset, folder: Path) -> UnreadableImage:
    with pytest.raises(UnreadableImage) as caught:
        read(dataset, folder)
    return caught.value


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
def test_a_codestream_that_is_cut_short_is_refused_in_one_sentence(
    dataset, tmp_path, syntax
) -> None:
    codestream = LOSSLESS[syntax](stored(dataset))
    compress(dataset, syntax, codestream[: len(codestream) // 3])
    error = refused(dataset, tmp_path)
    assert error.reason is Reason.UNREADABLE_PIXELS
    assert "cut short" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
def test_a_codestream_with_a_broken_header_is_refused(dataset, tmp_path, syntax) -> None:
    codestream = bytearray(LOSSLESS[syntax](stored(dataset)))
    codestream[2:40] = bytes(38)
    compress(dataset, syntax, bytes(codestream))
    assert refused(dataset, tmp_path).reason is Reason.UNREADABLE_PIXELS


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(dataset, tmp_path) -> None:
    huge = bytearray(LOSSLESS[JPEG2000Lossless](stored(dataset)))
    huge[8:16] = (60_000).to_bytes(4, "big") * 2
    compress(dataset, JPEG2000Lossless, bytes(huge))
    error = refused(dataset, tmp_path)
    assert error.reason is Reason.UNREADABLE_PIXELS
    assert "60000 x 60000" in str(error)


def test_only_our_decoder_is_asked(dataset, tmp_path) -> None:
    """Another one could be talked into a codestream that ours refuses."""
    codestream = bytearray(LOSSLESS[JPEGLSLossless](stored(dataset)))
    start = codestream.index(b"\xff\xf7")
    codestream[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    compress(dataset, JPEGLSLossless, bytes(codestream))
    assert str(refused(dataset, tmp_path)) == (
        "The pixel data cannot be decoded. The codestream is 65535 x 65535 pixels, "
        "the header says 256 x 208."
    )


def test_a_codestream_of_three_components_is_refused(dataset, tmp_path) -> None:
    colour = np.repeat(stored(dataset)[..., None], 3, axis=2)
    codestream = imagecodecs.jpeg2k_encode(colour, codecformat="j2k", reversible=True)
    compress(dataset, JPEG2000Lossless, codestream)
    assert "3 components" in str(refused(dataset, tmp_path))


def test_a_codestream_with_two_sizes_is_refused(dataset, tmp_path) -> None:
    codestream = LOSSLESS[JPEGLosslessSV1](stored(dataset))
    start = codestream.index(b"\xff\xc3")
    length = 2 + int.from_bytes(codestream[start + 2 : start + 4], "big")
    twice = codestream[: start + length] + codestream[start:]
    compress(dataset, JPEGLosslessSV1, twice)
    assert "2 starts of frame" in str(refused(dataset, tmp_path))


def test_truncated_pixels_are_refused(dataset, tmp_path) -> None:
    dataset.PixelData = dataset.PixelData[: ROWS * COLUMNS]
    assert refused(dataset, tmp_path).reason is Reason.UNREADABLE_PIXELS


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("PixelData", None, Reason.NO_PIXEL_DATA),
        ("PixelData", b"", Reason.NO_PIXEL_DATA),
        ("NumberOfFrames", 3, Reason.MULTI_FRAME),
        ("SamplesPerPixel", 3, Reason.NOT_MONOCHROME),
        ("PhotometricInterpretation", "PALETTE COLOR", Reason.NOT_MONOCHROME),
        ("Rows", 60_000, Reason.UNREADABLE_PIXELS),
        ("Rows", 0, Reason.UNREADABLE_PIXELS),
    ],
)
def test_what_is_no_plain_image_is_refused_with_its_reason(
    dataset, tmp_path, keyword, value, reason
) -> None:
    if value is None:
        del dataset[keyword]
    else:
        setattr(dataset, keyword, value)
    if keyword == "Rows" and value:
        dataset.Columns = value
    assert refused(dataset, tmp_path).reason is reason


def test_a_file_that_is_no_dicom_is_refused(tmp_path) -> None:
    path = tmp_path / "note.dcm"
    path.write_text("not DICOM")
    with pytest.raises(UnreadableImage, match="cannot be parsed"):
        read_mammogram(path)


@pytest.mark.parametrize(
    "junk", [b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"GIF89a", b"\xff\xd8\x00"]
)
def test_a_codestream_without_a_size_is_refused(junk) -> None:
    with pytest.raises(ValueError, match="codestream"):
        codestream_size(junk)


def test_the_overlay_outlines_the_finding_and_says_what_it_is_for(dataset, tmp_path) -> None:
    path = tmp_path / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    mammogram = read_mammogram(path)
    labels = np.zeros((ROWS, COLUMNS), np.uint8)
    labels[100:140, 30:60] = 1
    plain = render_overlay(mammogram, None, "L CC", 512)
    drawn = render_overlay(mammogram, labels, "L CC  80%", 512)
    assert plain[:4] == drawn[:4] == b"\x89PNG"
    with_colour = imagecodecs.png_decode(drawn).astype(int)
    assert with_colour.shape == (512, 416, 3)
    colourful = np.ptp(with_colour, axis=2) > 40
    rows, columns = np.nonzero(colourful)
    assert 190 <= rows.min() <= 202
    assert 275 <= rows.max() <= 290
    assert np.ptp(imagecodecs.png_decode(plain).astype(int), axis=2).max() == 0
