"""Every odd header through the whole building and our gate.

The golden checklist, which runs last, holds the validators against what is built here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from header_builders import ODD_HEADERS, OddHeader

from oncopixel_pacs.domain import ObjectKind
from oncopixel_pacs.report.validation import check
from tests.report_builders import FOUR_VIEWS, case

KINDS = (ObjectKind.SEG, ObjectKind.SR, ObjectKind.CAD_SR, ObjectKind.GSPS, ObjectKind.KOS)


@pytest.mark.parametrize("odd", ODD_HEADERS, ids=lambda odd: odd.name)
def test_results_of_an_odd_header_pass_the_gate(tmp_path: Path, odd: OddHeader) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 1}, change=odd.change)
    built = study.build(wanted=KINDS)
    check(built, study.paths)
    told = " ".join(text for item in built for text in item.repairs)
    assert odd.said in told
