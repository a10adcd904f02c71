"""Headers as they come: an odd one says less, it never raises."""

import copy
import functools
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from oncopixel_pacs.domain import Laterality, View
from oncopixel_pacs.imaging import header as header_module
from oncopixel_pacs.imaging.header import read_image_facts, read_study_header
from sample_dicom.study import make_study

KEYWORDS = [
    "Rows",
    "NumberOfFrames",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ViewCodeSequence",
    "ImageLaterality",
    "EstimatedRadiographicMagnificationFactor",
    "PatientName",
    "StudyDate",
    "SOPInstanceUID",
    "PartialView",
]


@functools.cache
def made() -> Dataset:
    return make_study(5, lesion=False, rows=256, columns=208)[0].dataset


def header(**changes: object) -> Dataset:
    dataset = copy.deepcopy(made())
    for keyword, value in changes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def code(value: str, *modifiers: str) -> Sequence:
    item = Dataset()
    item.CodeValue = value
    item.ViewModifierCodeSequence = [code(m)[0] for m in modifiers]
    item.CodeMeaning = value
    return Sequence([item])


@pytest.mark.parametrize(
    ("directions", "turned"),
    [
        (["P", "L"], False),
        (["A", "FR"], False),
        (["P", "FL"], False),
        (["A", "HL"], False),
        (["L", "P"], True),
        (["FR", "A"], True),
        (["H", "P"], True),
        (["A", "P"], False),  # no such thing; not a turn
        (["P"], False),
        ("P", False),
        (None, False),
    ],
)
def test_an_image_that_is_turned_by_a_quarter_is_known(directions: object, turned: bool) -> None:
    read = read_image_facts(header(PatientOrientation=directions))
    written = BytesIO()
    dcmwrite(written, header(PatientOrientation=directions), enforce_file_format=True)
    assert read.turned == read_image_facts(dcmread(BytesIO(written.getvalue()))).turned == turned


def test_the_facts_of_a_usual_mammogram() -> None:
    facts = read_image_facts(header())
    assert (facts.modality, facts.presentation_intent) == ("MG", "FOR PRESENTATION")
    assert (facts.laterality, facts.view) == (Laterality.RIGHT, View.CC)
    assert (facts.rows, facts.columns, facts.frames) == (256, 208, 1)
    assert facts.spacing_mm == pytest.approx((0.9375, 0.9375))
    assert facts.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert facts.has_pixel_data
    assert facts.name == "R CC"


@pytest.mark.parametrize(
    ("value", "view"),
    [
        ("399162004", View.CC),
        ("R-10242", View.CC),
        ("399368009", View.MLO),
        ("R-10226", View.MLO),
        ("399260004", View.OTHER),
    ],
)
def test_the_coded_view_counts(value, view) -> None:
    assert read_image_facts(header(ViewCodeSequence=code(value), ViewPosition="CC")).view is view


@pytest.mark.parametrize(
    ("position", "laterality", "view"),
    [
        ("RCC", Laterality.RIGHT, View.CC),
        ("LEFT MLO", Laterality.LEFT, View.MLO),
        ("MLO", None, View.MLO),
        ("ML", None, View.OTHER),
        ("", None, None),
    ],
)
def test_the_view_position_stands_in_for_what_is_missing(position, laterality, view) -> None:
    facts = read_image_facts(
        header(ViewCodeSequence=None, ImageLaterality=None, ViewPosition=position)
    )
    assert (facts.laterality, facts.view) == (laterality, view)


def test_modifiers_are_named() -> None:
    facts = read_image_facts(header(ViewCodeSequence=code("399162004", "399163009")))
    assert facts.view_modifiers == ("399163009",)


def test_modifiers_beside_the_view_code_are_named_too() -> None:
    beside = header()
    beside.ViewModifierCodeSequence = code("399163009")
    assert read_image_facts(beside).view_modifiers == ("399163009",)


def test_a_view_code_without_a_value_leaves_it_to_the_view_position() -> None:
    assert read_image_facts(header(ViewCodeSequence=code(""), ViewPosition="MLO")).view is View.MLO


@pytest.mark.parametrize("keyword", ["PartialView", "BreastImplantPresent", "QualityControlImage"])
def test_flags_are_set_by_yes_alone(keyword) -> None:
    names = ("partial_view", "implant", "quality_control")
    clear, flagged = read_image_facts(header()), read_image_facts(header(**{keyword: "YES"}))
    assert [getattr(clear, name) for name in names] == [False] * 3
    assert [getattr(flagged, name) for name in names].count(True) == 1


@given(st.sampled_from(KEYWORDS), st.text(max_size=20) | st.binary(max_size=20))
def test_no_value_raises(keyword, value) -> None:
    dataset = header()
    if keyword not in dataset:
        dataset.add_new(keyword, "UN", b"")
    dataset[keyword]._value = value
    facts = read_image_facts(dataset)
    assert facts.rows >= 0
    read_study_header(dataset)


@pytest.mark.parametrize(
    ("changes", "spacing"),
    [
        ({"ImagerPixelSpacing": [0.1, 0.1]}, (0.1, 0.1)),
        (
            {
                "ImagerPixelSpacing": [0.1, 0.1],
                "EstimatedRadiographicMagnificationFactor": "1.8",
            },
            (0.1 / 1.8, 0.1 / 1.8),
        ),
        ({"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.09, 0.09]}, (0.09, 0.09)),
        # Copied from the detector: not corrected yet.
        (
            {
                "ImagerPixelSpacing": [0.11, 0.11],
                "PixelSpacing": [0.11, 0.11],
                "EstimatedRadiographicMagnificationFactor": "1.1",
            },
            (0.1, 0.1),
        ),
        (
            {
                "PixelSpacing": [0.1, 0.1],
                "ImagerPixelSpacing": None,
                "EstimatedRadiographicMagnificationFactor": "1.1",
            },
            (0.1, 0.1),
        ),
        ({"ImagerPixelSpacing": None}, None),
        ({"ImagerPixelSpacing": [0, 0]}, None),
        ({"ImagerPixelSpacing": [100.0, 100.0]}, None),
    ],
)
def test_the_spacing_is_that_of_the_breast(changes, spacing) -> None:
    found = read_image_facts(header(**changes)).spacing_mm
    assert found == (None if spacing is None else pytest.approx(spacing))


def test_an_empty_data_set_gives_empty_facts() -> None:
    facts = read_image_facts(Dataset())
    assert facts.sop_instance_uid == ""
    assert facts.laterality is None
    assert not facts.has_pixel_data
    assert facts.name == "? ?"


@pytest.mark.filterwarnings("ignore")
def test_broken_values_only_say_less() -> None:
    dataset = header()
    dataset["ImagerPixelSpacing"]._value = "nonsense"
    dataset["Rows"]._value = "many"
    dataset["ViewCodeSequence"]._value = "no sequence"
    facts = read_image_facts(dataset)
    assert facts.spacing_mm is None
    assert facts.rows == 0


def test_the_study_header_is_what_an_admin_recognises() -> None:
    said = read_study_header(header(PatientName="Müller^Änne", StudyDescription="Screening"))
    assert said.patient_name == "Müller^Änne"
    assert said.description == "Screening"


class Watched(Dataset):
    """Notes which elements are asked for."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.asked: set[int] = set()

    def get_item(self, key: object, **kwargs: object) -> object:  # type: ignore[override]
        self.asked.add(int(Tag(key)))  # type: ignore[arg-type]
        return super().get_item(key, **kwargs)  # type: ignore[call-overload]


def test_headers_are_alike_by_everything_that_is_read_of_them() -> None:
    watched = Watched()
    header_module._read(watched)
    compared = {tag_for_keyword(keyword) for keyword in header_module.SAID_BY_MANY}
    assert watched.asked <= compared


@given(
    changed=st.dictionaries(
        st.sampled_from(["ImageLaterality", "PartialView", "ViewPosition", "SeriesDescription"]),
        st.sampled_from(["L", "R", "YES", "CC", ""]),
    )
)
def test_what_was_read_of_another_header_is_never_taken_for_it(changed: dict[str, str]) -> None:
    for dataset in (header(), header(**changed)):
        stream = BytesIO()
        dcmwrite(stream, dataset, enforce_file_format=True)
        parsed = dcmread(BytesIO(stream.getvalue()))
        list(parsed.iterall())  # what is parsed is compared with nothing
        raw = dcmread(BytesIO(stream.getvalue()))
        assert read_image_facts(raw) == read_image_facts(parsed)


@pytest.mark.parametrize(
    ("factor", "modifiers"),
    [("1", ()), ("1.1", ()), ("1.8", ("Magnification",)), ("18", ()), ("", ())],
)
def test_a_magnified_view_is_known_without_its_modifier(
    factor: str, modifiers: tuple[str, ...]
) -> None:
    facts = read_image_facts(header(EstimatedRadiographicMagnificationFactor=factor))
    assert facts.view_modifiers == modifiers
