"""CAD reports under the validators, PixelMed's template rules among them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ObjectKind, Reason
from oncopixel_pacs.report.external_validation import TOOLS, validate_with_tools
from oncopixel_pacs.report.validation import check
from tests.integration.test_report_validators import missing
from tests.report_builders import FOUR_VIEWS, Case, case, without
from tests.unit.test_report_cad_rules import coding, dropping, pointing
from tests.unit.test_report_validation import mutated

CAD = ObjectKind.CAD_SR
RIGHT_CC, LEFT_CC, RIGHT_MLO, LEFT_MLO = FOUR_VIEWS
JARS = [Path("/usr/share/java") / name for name in ("pixelmed.jar", "vecmath.jar")]
# The template rules are one large style sheet, beyond the limits that Java sets by default.
LIMITS = [
    f"-Djdk.xml.{name}=0" for name in ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")
]


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
    check(study.build(wanted=(CAD,)), study.paths)
    report = validate_with_tools(study.save_objects(folders[1], (CAD,)), study.paths.values())
    assert report.tools == TOOLS
    assert report.problems == ()
    assert report.warnings == ()


def pixelmed(path: Path) -> list[str]:
    """Complaints of PixelMed's DicomSRValidator."""
    done = subprocess.run(
        ["java", *LIMITS, "-cp", ":".join(map(str, JARS)), "com.pixelmed.validate.DicomSRValidator"]
        + [str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert "Found Root Template TID_4000 (MammographyCADDocumentRoot)" in lines
    assert "Root Template Validation Complete" in lines
    # Its table spells the meaning of 111025 with two spaces.
    return [
        line
        for line in lines
        if any(word in line for word in ("Error", "Warning", "illegal", "xception"))
        and '"Failed  Detections"' not in line
    ]


def break_it(dataset: Dataset) -> None:
    """Make several faults at once; a run of the validator takes long."""
    for mutation in (pointing(1, 3), dropping("111056"), coding("111059", "4147007")):
        mutation(dataset)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("java") is None or not all(jar.exists() for jar in JARS),
    reason="java and libpixelmed-java are not installed",
)
class TestPixelMed:
    """The template rules themselves."""

    @pytest.mark.parametrize("form", FORMS)
    def test_every_form_follows_its_template(self, tmp_path: Path, form: Form) -> None:
        path = tmp_path / "cad.dcm"
        path.write_bytes(form(tmp_path).one(CAD).part10)
        assert pixelmed(path) == []

    def test_it_finds_faults(self, tmp_path: Path) -> None:
        path = tmp_path / "cad.dcm"
        path.write_bytes(mutated(findings(tmp_path).one(CAD), break_it).part10)
        complaints = "\n".join(pixelmed(path))
        assert "Rendering Intent" in complaints
        assert "4147007" in complaints
