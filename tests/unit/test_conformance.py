"""The Conformance Statement says what the server does, whatever its configuration."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.conformance.statement import statement
from oncopixel_pacs.domain import ObjectKind, SegmentationForm
from oncopixel_pacs.receive.contexts import supported_contexts
from oncopixel_pacs.report.result_objects import build_retraction
from oncopixel_pacs.report.sop_classes import written_as
from oncopixel_pacs.settings import Settings, load_settings
from tests.report_builders import FOUR_VIEWS, PROVENANCE, case

ROOT = Path(__file__).parents[2]
PACS = {"type": "cstore", "name": "pacs", "host": "10.0.0.9", "port": 104, "ae_title": "PACS"}
KINDS = tuple(kind for kind in ObjectKind if kind is not ObjectKind.REJECTION)


def written(**options: Any) -> str:
    return statement(Settings.model_validate(options), "1.2.3")


def rows(text: str, heading: str) -> list[list[str]]:
    """Rows of the first table behind a line that begins so."""
    part = text.split(f"\n{heading}", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", part, flags=re.MULTILINE)
    assert table
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_is_that_of_the_example_configuration() -> None:
    page = (ROOT / "docs" / "conformance-statement.md").read_text("utf-8")
    settings = load_settings(ROOT / "deploy" / "oncopixel.toml")
    assert page == statement(settings, "(example)"), (
        "write it again: python -m tests.document_conformance"
    )


def test_the_command_writes_it(tmp_path: Path) -> None:
    config, out = tmp_path / "oncopixel.toml", tmp_path / "statement.md"
    config.write_text('ae_title = "BREAST_AI"\n')
    done = CliRunner().invoke(app, ["conformance", "--config", str(config), "--out", str(out)])
    assert done.exit_code == 0
    text = out.read_text("utf-8")
    assert "called by `BREAST_AI`" in text
    printed = CliRunner().invoke(app, ["conformance", "--config", str(config)]).stdout
    assert printed == text


def test_what_it_accepts_is_what_the_acceptor_negotiates() -> None:
    further = "1.2.840.10008.5.1.4.1.1.4.1"
    text = written(receive={"further_sop_classes": (further,)})
    offered = {str(item.abstract_syntax) for item in supported_contexts((further,))}
    said = {cells[1] for cells in rows(text, "Table 1-1") if cells[3] == "yes"}
    assert said == offered
    syntaxes = [cells[1] for cells in rows(text, "### 4.2")]
    assert syntaxes == supported_contexts()[-1].transfer_syntax


def _syntax(part10: bytes) -> str:
    meta = dcmread(io.BytesIO(part10), stop_before_pixels=True).file_meta
    return str(meta.TransferSyntaxUID)


@pytest.mark.parametrize("form", list(SegmentationForm))
def test_what_it_sends_is_what_is_built(tmp_path: Path, form: SegmentationForm) -> None:
    study = case(tmp_path, dict.fromkeys(FOUR_VIEWS[:2], 1))
    built = list(study.build(wanted=KINDS, forms=(form,)))
    stale = [built[-1].dataset]
    built.append(build_retraction(study.result, study.paths, stale, PROVENANCE, lambda _: None))
    assert {item.kind for item in built} == set(ObjectKind)
    real = {(item.kind, (item.sop_class_uid, _syntax(item.part10))) for item in built}
    assert real == {(kind, written_as(kind, form)) for kind in ObjectKind}
    text = written(destinations=({**PACS, "objects": KINDS, "segmentation": form},))
    proposed = {cells[2] for cells in rows(text, "Table 4-2")}
    assert proposed == {item.sop_class_uid for item in built}
    assert proposed <= {cells[1] for cells in rows(text, "Table 1-1") if cells[2] == "yes"}


def test_it_changes_with_what_is_configured() -> None:
    plain = written()
    assert "No destination takes C-STORE" in plain
    assert "TLS is not configured" in plain
    assert "No source is asked" in plain
    tls = {"certificate": "a.pem", "key": "a.key", "ca_file": "ca.pem", "port": 2763, "only": True}
    source = {"type": "cmove", "name": "old", "host": "10.0.0.8", "port": 104, "ae_title": "OLD"}
    text = written(
        tls=tls, sources=(source,), destinations=(PACS,), receive={"further_ae_titles": ("TRIAL",)}
    )
    parameters = {cells[1].strip("`"): cells[2] for cells in rows(text, "## 5")}
    assert parameters["tls.port"] == "2763"
    assert parameters["dimse_port"] == "closed"
    assert parameters["receive.further_ae_titles"] == "TRIAL"
    assert "TLS 1.2 and 1.3; peer certificate required" in " ".join(text.split())
    moves = {cells[1]: cells[2] for cells in rows(text, "Table 1-1")}
    assert moves["1.2.840.10008.5.1.4.1.2.2.2"] == "yes"


def test_it_tells_no_secret_and_no_address_of_a_peer() -> None:
    text = written(
        api={"tokens": ("geheim-geheim-geheim",)},
        peers=({"ae_title": "MAMMO1", "address": "10.0.0.7"},),
        destinations=(PACS, {"type": "orthanc", "name": "o", "url": "http://x", "password": "pw1"}),
    )
    for secret in ("geheim-geheim-geheim", "10.0.0.7", "10.0.0.9", "pw1"):
        assert secret not in text


def test_its_chapters_are_numbered_in_order() -> None:
    numbers = re.findall(r"^## (\d)", written(), flags=re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 9)]


@pytest.mark.parametrize("configured", [False, True])
def test_the_worklist_service_is_said_to_be_used_where_it_is(configured: bool) -> None:
    worklist = {"name": "ris", "url": "https://ris.example/ups", "token": "abc"}
    text = written(worklists=(worklist,) if configured else ())
    said = {cells[0]: cells[1] for cells in rows(text, "Table 1-2")}
    assert said["Worklist service (UPS-RS; beta)"] == ("yes" if configured else "no")
    assert "abc" not in text
