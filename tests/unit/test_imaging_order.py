"""What an order, a code or a word says of breasts, views and test objects."""

from __future__ import annotations

from typing import Any

import pytest
from dimse_builder import mammogram
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import Laterality, Ordered, View
from oncopixel_pacs.imaging import words
from oncopixel_pacs.imaging.header import read_image_facts


def code(value: str, meaning: str = "", scheme: str = "SCT", **inside: Any) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    for keyword, held in inside.items():
        setattr(item, keyword, held)
    return item


def request(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


@pytest.mark.parametrize(
    ("text", "ordered"),
    [
        ("MG Mammogram Diagnostic Left", Ordered.LEFT),
        ("MAMMO DIAG UNI RT", Ordered.RIGHT),
        ("Mammo unilat. L", Ordered.LEFT),
        ("Mammographie rechts", Ordered.RIGHT),
        ("Mammographie gauche", Ordered.LEFT),
        ("Mammographie beidseits", Ordered.BOTH),
        ("Bilateral screening mammogram", Ordered.BOTH),
        ("Left and right breast", Ordered.BOTH),
        ("Unilateral diagnostic", Ordered.ONE),
        ("Screening", None),
        ("L spine", None),
        ("RIGHTEOUS", None),
        ("", None),
    ],
)
def test_a_description_names_breasts_by_whole_words(text: str, ordered: Ordered | None) -> None:
    assert words.ordered(text) is ordered


@pytest.mark.parametrize(
    ("attributes", "ordered"),
    [
        ({"StudyDescription": "Mammography right"}, Ordered.RIGHT),
        ({"ProcedureCodeSequence": [code("572701000119102", "?")]}, Ordered.LEFT),
        ({"ProcedureCodeSequence": [code("37774-7", "?", "LN")]}, Ordered.RIGHT),
        ({"ProcedureCodeSequence": [code("43204002")], "StudyDescription": "Left"}, Ordered.BOTH),
        ({"ProcedureCodeSequence": [code("M1", "Mammogram left", "99X")]}, Ordered.LEFT),
        (
            {
                "ProcedureCodeSequence": [code("M1", "Mammogram left", "99X")],
                "StudyDescription": "Mammogram right",
            },
            Ordered.LEFT,
        ),
        (
            {
                "RequestAttributesSequence": [
                    request(RequestedProcedureCodeSequence=[code("46339-8", "", "LN")])
                ]
            },
            Ordered.ONE,
        ),
        (
            {
                "RequestAttributesSequence": [
                    request(ScheduledProcedureStepDescription="MAMMO UNILATERAL LEFT")
                ]
            },
            Ordered.LEFT,
        ),
        (
            {
                "RequestAttributesSequence": [
                    request(ScheduledProcedureStepDescription="MAMMO LEFT"),
                    request(ScheduledProcedureStepDescription="MAMMO RIGHT"),
                ]
            },
            Ordered.BOTH,
        ),
        ({"StudyDescription": "Screening"}, None),
        # The image is one of a breast: that says nothing of what was ordered.
        ({"SeriesDescription": "L CC"}, None),
    ],
)
def test_codes_of_an_order_count_before_its_words(
    attributes: dict[str, Any], ordered: Ordered | None
) -> None:
    assert read_image_facts(mammogram(**attributes)).ordered is ordered


@pytest.mark.parametrize(
    ("value", "scheme", "view"),
    [
        ("399162004", "SCT", View.CC),
        ("R-10242", "SRT", View.CC),
        ("R-10242", "SNM3", View.CC),
        ("399368009", "SCT", View.MLO),
        ("R-10226", "SRT", View.MLO),
        ("R-10226", "SNM3", View.MLO),
        ("R-10224", "SNM3", View.OTHER),
        ("399192008", "SCT", View.OTHER),
        ("Y-X1770", "99SDM", View.OTHER),
    ],
)
def test_a_view_code_of_any_age_counts_before_the_view_position(
    value: str, scheme: str, view: View
) -> None:
    position = "MLO" if view is not View.MLO else "CC"
    image = mammogram(ViewCodeSequence=[code(value, "", scheme)], ViewPosition=position)
    assert read_image_facts(image).view is view


@pytest.mark.parametrize(
    ("meaning", "position", "view"),
    [
        ("medio-lateral oblique", "CC", View.MLO),
        ("Cranio-caudal", "", View.CC),
        ("", "MLO", View.MLO),
        # ML is not MLO, whatever it begins with.
        ("medio-lateral", "ML", View.OTHER),
        ("exaggerated", "XCCL", View.OTHER),
    ],
)
def test_a_foreign_view_code_is_read_by_its_meaning_then_by_the_view_position(
    meaning: str, position: str, view: View
) -> None:
    image = mammogram(ViewCodeSequence=[code("V7", meaning, "99ACME")], ViewPosition=position)
    assert read_image_facts(image).view is view


@pytest.mark.parametrize(
    ("attributes", "side"),
    [
        ({"ImageLaterality": "R"}, Laterality.RIGHT),
        ({"ImageLaterality": "R", "Laterality": "L"}, Laterality.RIGHT),
        ({"ImageLaterality": None, "Laterality": "L"}, Laterality.LEFT),
        ({"ImageLaterality": "B"}, None),
        ({"ImageLaterality": "B", "ViewPosition": "RCC"}, None),
        (
            {
                "ImageLaterality": None,
                "AnatomicRegionSequence": [
                    code("76752008", "Breast", AnatomicRegionModifierSequence=[code("7771000")])
                ],
            },
            Laterality.LEFT,
        ),
        (
            {"ImageLaterality": None, "AnatomicRegionSequence": [code("T-04020", "", "SRT")]},
            Laterality.RIGHT,
        ),
        ({"ImageLaterality": None, "ViewPosition": "LMLO"}, Laterality.LEFT),
        # A description may be that of the protocol: the wrong side is worse than none.
        ({"ImageLaterality": None, "SeriesDescription": "L CC", "ViewPosition": "CC"}, None),
    ],
)
def test_the_breast_is_read_from_attributes_made_for_it(
    attributes: dict[str, Any], side: Laterality | None
) -> None:
    assert read_image_facts(mammogram(**attributes)).laterality is side


@pytest.mark.parametrize("value", ["399209000", "R-102D5"])
def test_implant_displaced_is_known_by_either_code(value: str) -> None:
    modified = code("399162004", ViewModifierCodeSequence=[code(value, "Implant Displaced")])
    facts = read_image_facts(mammogram(ViewCodeSequence=[modified]))
    assert facts.implant_displaced
    assert facts.view_modifiers == ("Implant Displaced",)


@pytest.mark.parametrize(
    ("attributes", "is_test_object"),
    [
        ({"QualityControlImage": "YES"}, True),
        ({"CalibrationImage": "YES"}, True),
        ({"BodyPartExamined": "PHANTOM"}, True),
        ({"SeriesDescription": "Weekly_QC"}, True),
        ({"ProtocolName": "Flat Field Test"}, True),
        ({"StudyDescription": "ACR phantom"}, True),
        ({"StudyDescription": "Screening"}, False),
        ({"SeriesDescription": "R QCC"}, False),
        # A name is nobody's business, and says nothing of the object.
        ({"PatientName": "Phantom^Anna"}, False),
    ],
)
def test_test_objects_are_known_by_flag_or_description(
    attributes: dict[str, Any], is_test_object: bool
) -> None:
    assert read_image_facts(mammogram(**attributes)).quality_control is is_test_object


def test_further_facts_of_the_header() -> None:
    source = Dataset()
    source.ReferencedSOPInstanceUID = "1.2.3"
    facts = read_image_facts(
        mammogram(
            SourceImageSequence=[source],
            BurnedInAnnotation="YES",
            ImageType=["DERIVED", "PRIMARY", "STEREO_MINUS"],
        )
    )
    assert facts.source_uids == ("1.2.3",)
    assert facts.burned_in
    assert facts.stereotactic
    plain = read_image_facts(mammogram(BurnedInAnnotation="NO", ImageType="ORIGINAL"))
    assert (plain.burned_in, plain.stereotactic, plain.source_uids) == (False, False, ())


@pytest.mark.parametrize(
    ("image_type", "said"),
    [
        # PS3.3 C.8.11.7.1.4
        (["ORIGINAL", "PRIMARY", ""], ""),
        (["DERIVED", "PRIMARY", "TOMO_2D", "GENERATED_2D"], ""),
        (["DERIVED", "PRIMARY", "POST_CONTRAST", "", "LOW_ENERGY"], ""),
        (["DERIVED", "PRIMARY", "POST_CONTRAST", "SUBTRACTION", ""], "contrast"),
        (["DERIVED", "PRIMARY", "POST_CONTRAST", "ADDITION"], "contrast"),
        (["ORIGINAL", "PRIMARY", "POST_CONTRAST", "", "HIGH_ENERGY"], "contrast"),
        (["ORIGINAL", "PRIMARY", "PRE_CONTRAST", "", ""], "contrast"),
        (["ORIGINAL", "PRIMARY", "TOMO_PROJ"], "projection"),
        (["ORIGINAL", "PRIMARY", "STEREO_SCOUT"], "stereotactic"),
        (["ORIGINAL", "PRIMARY", "STEREO_PLUS"], "stereotactic"),
        (["ORIGINAL", "PRIMARY", "PREFIRE_MINUS"], "stereotactic"),
        (["ORIGINAL", "PRIMARY", "POSTFIRE_PLUS"], "stereotactic"),
        (["ORIGINAL", "PRIMARY", "POSTMARKER"], "stereotactic"),
        # As units write them besides
        (["DERIVED", "PRIMARY", "", "RECOMBINED"], "contrast"),
        (["DERIVED", "PRIMARY", "LOW_ENERGY"], ""),
        (["DERIVED", "PRIMARY", "STEREO", "LEFT"], "stereotactic"),
    ],
)
def test_image_type_tells_what_is_no_ordinary_view(image_type: list[str], said: str) -> None:
    facts = read_image_facts(mammogram(ImageType=image_type))
    kinds = ("contrast", "projection", "stereotactic")
    assert [kind for kind in kinds if getattr(facts, kind)] == ([said] if said else [])


@pytest.mark.parametrize(
    ("attributes", "contrast"),
    [
        # A galactography, or a recombined image whose Image Type does not say so.
        ({"ContrastBolusAgent": "Iohexol 300"}, True),
        ({"ContrastBolusAgentSequence": [code("44588005", "Iodine")]}, True),
        (
            {"ContrastBolusAgent": "Iohexol", "ImageType": ["DERIVED", "PRIMARY", "LOW_ENERGY"]},
            False,
        ),
        ({"ContrastBolusAgent": ""}, False),
        ({"ContrastBolusAgent": "None"}, False),
        ({"ContrastBolusAgentSequence": []}, False),
    ],
)
def test_an_agent_that_is_named_is_in_the_image(attributes: dict[str, Any], contrast: bool) -> None:
    assert read_image_facts(mammogram(**attributes)).contrast is contrast
