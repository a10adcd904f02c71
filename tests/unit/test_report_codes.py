"""The table of coded concepts."""

from collections.abc import Iterator, Mapping

from pydicom.sr.coding import Code

from oncopixel_pacs.report import codes


def every_code() -> Iterator[Code]:
    for value in vars(codes).values():
        if isinstance(value, Code):
            yield value
        elif isinstance(value, Mapping):
            yield from (item for item in value.values() if isinstance(item, Code))


def test_every_code_is_plain_ascii_and_fits_its_attributes() -> None:
    for code in every_code():
        assert all(part.isascii() and part.isprintable() for part in code[:3]), code
        assert len(code.value) <= 16 and len(code.scheme_designator) <= 16
        assert 0 < len(code.meaning) <= 64


def test_no_concept_stands_in_the_table_under_two_meanings() -> None:
    found = list(every_code())
    assert len(found) > 50
    assert len({(code.value, code.scheme_designator) for code in found}) == len(found)


def test_code_item_is_a_basic_code_sequence_item() -> None:
    item = codes.code_item(codes.BREAST)
    assert (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) == (
        "76752008",
        "SCT",
        "Breast",
    )
