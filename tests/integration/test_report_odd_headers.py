"""Every odd header through the whole building and our gate.

The golden checklist, which runs last, holds the validators against what is built here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from header_builders import ODD_HEADERS, OddHeader, set_raw
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ObjectKind
from oncopixel_pacs.report.validation import check
from tests.report_builders import FOUR_VIEWS, case, mammogram

KINDS = (ObjectKind.SEG, ObjectKind.SR, ObjectKind.CAD_SR, ObjectKind.GSPS, ObjectKind.KOS)
# Without these there is no image to write results of; everything else may be anything.
NEEDED = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"}
NEEDED |= {"Rows", "Columns", "PixelData", "BitsAllocated", "PhotometricInterpretation"}
CHANGED = sorted(
    keyword
    for keyword in (keyword_for_tag(tag) for tag in mammogram().keys())  # noqa: SIM118
    if keyword not in NEEDED and dictionary_VR(keyword) not in ("SQ", "OW", "US")
)


@pytest.mark.parametrize("odd", ODD_HEADERS, ids=lambda odd: odd.name)
def test_results_of_an_odd_header_pass_the_gate(tmp_path: Path, odd: OddHeader) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 1}, change=odd.change)
    built = study.build(wanted=KINDS)
    check(built, study.paths)
    told = " ".join(text for item in built for text in item.repairs)
    assert odd.said in told


@settings(max_examples=25, phases=[Phase.generate])
@given(
    garbled=st.dictionaries(st.sampled_from(CHANGED), st.binary(max_size=40), max_size=6),
    dropped=st.sets(st.sampled_from(CHANGED), max_size=6),
)
def test_whatever_happens_to_a_header_its_results_pass_the_gate(
    garbled: dict[str, bytes], dropped: set[str]
) -> None:
    def change(dataset: Dataset) -> None:
        for keyword, value in garbled.items():
            set_raw(dataset, keyword, value)
        for keyword in dropped - garbled.keys():
            delattr(dataset, keyword)

    with tempfile.TemporaryDirectory() as folder:
        study = case(Path(folder), {FOUR_VIEWS[0]: 1}, change=change)
        check(study.build(wanted=KINDS), study.paths)
