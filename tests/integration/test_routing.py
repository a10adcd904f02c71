"""Which model reads what, from the modality's call to the page, the API and the shell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from api_builders import HEADER, make_parts, serving
from builders import STUDY_UID, make_instance
from bundle_builder import write_bundle
from conftest import Store
from dimse_builder import association, mammogram, reception, store, until
from mammogram_builder import SCREENING, write_mammogram
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.domain import ModelMode, ModelTask, Reason
from oncopixel_pacs.domain.model_choice import Candidate
from oncopixel_pacs.domain.rules import Rule

TRIAL = Candidate("trial", ModelTask.SEGMENT, Rule(called_ae_titles=("TRIAL",)))
USUAL = Candidate("usual", ModelTask.SEGMENT)
NEXT = Candidate("next", ModelTask.SEGMENT, mode=ModelMode.SHADOW)


def test_a_server_of_several_names_keeps_by_which_it_was_called(tmp_path: Path) -> None:
    receive = {"further_ae_titles": ("TRIAL",)}
    with reception(tmp_path, receive=receive) as here:
        assert store(here.port, mammogram(1), called="TRIAL").Status == 0x0000
        assert store(here.port, mammogram(2), called="ONCOPIXEL").Status == 0x0000
        held = [item for study in here.catalogue.studies().items for item in study.instances]
        with association(here.port, called="NOBODY") as refused:
            assert refused.is_rejected
        until(lambda: bool(here.callers.rejected()))
        (caller,) = here.callers.rejected()
    assert [item.called_ae_title for item in held] == ["TRIAL", "ONCOPIXEL"]
    assert caller.reason.endswith("we are ONCOPIXEL or TRIAL")


def test_page_and_api_say_which_models_would_run_and_why_not(any_store: Store) -> None:
    first = replace(make_instance(1), called_ae_title="ONCOPIXEL")
    any_store.catalogue.add_instance(first, HEADER)
    with serving(make_parts(any_store, candidates=(TRIAL, USUAL))) as client:
        answer = client.get(f"/api/v1/studies/{STUDY_UID}/routing").json()
        page = client.get("/routing", params={"study": STUDY_UID}).text
        unknown = client.get("/routing", params={"study": "1.2.3"})
        missing = client.get("/api/v1/studies/1.2.3/routing")
    trial, usual = answer["images"][0]["models"]
    assert (trial["runs"], trial["reason"], usual["runs"]) == (False, "model-rule", True)
    said = "Called AE title is ONCOPIXEL; the rule asks for TRIAL."
    assert trial["sentence"] == f"{Reason.MODEL_RULE.sentence} {said}"
    assert said in page
    assert "Called AE title: TRIAL" in page
    assert (unknown.status_code, missing.status_code) == (200, 404)
    assert "1.2.3" in unknown.text


def test_page_and_api_tell_of_a_shadow_by_itself(any_store: Store) -> None:
    any_store.catalogue.add_instance(make_instance(1), HEADER)
    with serving(make_parts(any_store, candidates=(USUAL, NEXT))) as client:
        answer = client.get(f"/api/v1/studies/{STUDY_UID}/routing").json()
        page = client.get("/routing", params={"study": STUDY_UID}).text
    said = [(item["model"], item["mode"], item["runs"]) for item in answer["images"][0]["models"]]
    # Behind another active model it would say that this stands before it.
    assert said == [("usual", "active", True), ("next", "shadow", True)]
    assert "<td><b>next</b></td><td>shadow</td>" in page


def test_the_shell_says_the_same_of_files(tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "bundle")
    config = tmp_path / "oncopixel.toml"
    config.write_text(
        f'ae_title = "TRIAL"\n[[models]]\nname = "trial"\ntask = "segment"\nbundle = "bundle"\n'
        f'sha256 = "{model.sha256}"\nthreshold = 0.5\n'
        '[models.rule]\ncalled_ae_titles = ["TRIAL"]\ncalling_ae_titles = ["ROOM1"]\n'
    )
    image = write_mammogram(tmp_path, SCREENING[0])

    def route(*options: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["route", str(image), "--config", str(config), *options])
        return done.exit_code, done.stdout

    code, said = route("--from", "ROOM1", "--json")
    assert (code, json.loads(said)[0]["runs"]) == (0, True)
    code, said = route("--from", "ROOM2", "--json")
    assert (code, json.loads(said)[0]["reason"]) == (1, "model-rule")
    assert "Calling AE title is ROOM2" in json.loads(said)[0]["sentence"]
    code, said = route("--from", "ROOM1")
    assert "yes" in said


def test_the_shell_tells_of_a_shadow_by_itself(tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "bundle")
    config = tmp_path / "oncopixel.toml"
    table = (
        '[[models]]\nname = "{}"\ntask = "segment"\nbundle = "bundle"\n'
        f'sha256 = "{model.sha256}"\nthreshold = 0.5\n'
    )
    room = '[models.rule]\ncalling_ae_titles = ["ROOM1"]\n'
    config.write_text(
        table.format("usual") + room + table.format("next") + "shadow = true\n" + room
    )
    image = write_mammogram(tmp_path, SCREENING[0])

    def route(*options: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["route", str(image), "--config", str(config), *options])
        return done.exit_code, done.stdout

    code, said = route("--from", "ROOM1", "--json")
    found = [(item["model"], item["mode"], item["runs"]) for item in json.loads(said)]
    # Behind another active model it would say that this stands before it.
    assert (code, found) == (0, [("usual", "active", True), ("next", "shadow", True)])
    code, said = route("--from", "ROOM2", "--json")
    reasons = [item["reason"] for item in json.loads(said)]
    assert (code, reasons) == (1, ["model-rule", "model-rule"])
    config.write_text(table.format("usual") + room + table.format("next") + "shadow = true\n")
    code, said = route("--from", "ROOM2")
    assert code == 1
    assert "next (shadow)" in said
