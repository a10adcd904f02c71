"""CAD reports under dciodvfy, dcentvfy and dsrdump."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from oncopixel_pacs.domain import ObjectKind, Reason
from oncopixel_pacs.report.external_validation import TOOLS, validate_with_tools
from oncopixel_pacs.report.validation import check
from tests.integration.test_report_validators import missing
from tests.report_builders import FOUR_VIEWS, Case, case, save_built, without

CAD = ObjectKind.CAD_SR
RIGHT_CC, LEFT_CC, RIGHT_MLO, LEFT_MLO = FOUR_VIEWS


def findings(folder: Path) -> Case:
    return case(folder, {RIGHT_CC: 1, RIGHT_MLO: 1, LEFT_CC: 2, LEFT_MLO: 1})


def no_finding(folder: Path) -> Case:
    return case(folder, dict.fromkeys(FOUR_VIEWS, 0))


def partial(folder: Path) -> Case:
    study = case(folder, {RIGHT_CC: 1, RIGHT_MLO: 0, LEFT_CC: 0})
    return without(study, "L CC", Reason.PARTIAL_VIEW)


def failed(folder: Path) -> Case:
    study = case(folder, {RIGHT_CC: 0, LEFT_CC: 0})
    return without(without(study, "L CC", Reason.PARTIAL_VIEW), "R CC", Reason.NO_BREAST)


Form = Callable[[Path], Case]
FORMS: list[Form] = [findings, no_finding, partial, failed]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    return source, out


@pytest.mark.dcmtk
@pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_valid(folders: tuple[Path, Path], form: Form) -> None:
    study = form(folders[0])
    built = study.build(wanted=(CAD,))
    check(built, study.paths)
    report = validate_with_tools(save_built(built, folders[1]), study.paths.values())
    assert report.tools == TOOLS
    assert report.problems == ()
    assert report.warnings == ()
