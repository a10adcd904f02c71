"""Routes, page and commands about other content under a known UID."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from api_builders import make_parts, serving
from conftest import Store
from dimse_builder import mammogram, write
from typer.testing import CliRunner

from oncopixel_pacs.api import study_pages
from oncopixel_pacs.cli.commands import app
from oncopixel_pacs.domain import StudyState
from oncopixel_pacs.opening import utc_now
from oncopixel_pacs.receive.intake import Intake

OURS = {"X-Requested-With": "a test"}
STUDY = "1.2.826.0.1.3680043.8.498.1"


def send(store: Store, folder: Path, name: str) -> None:
    image = mammogram(StudyInstanceUID=STUDY, PatientName=name)
    intake = Intake(store.files, store.catalogue, utc_now)
    intake.accept_file(write(image, folder / "image.dcm"), "MODALITY")


@pytest.fixture
def held(store: Store, tmp_path: Path) -> Store:
    """Take in an image, then the same one under another name."""
    for name in ("DOE^JAN", "DOE^<JANE>"):
        send(store, tmp_path, name)
    return store


def test_programs_see_what_differs_and_say_which_is_right(held: Store) -> None:
    path = f"/api/v1/studies/{STUDY}/conflicts"
    with serving(make_parts(held)) as client:
        (alarm,) = client.get("/api/v1/alarms").json()["items"]
        assert "with other content" in alarm["said"]
        assert alarm["said"].endswith(f"{STUDY}.")
        assert (alarm["subject"], alarm["page"]) == ("studies", f"/studies/{STUDY}")
        assert client.get("/alarms").text.count("with other content") == 1
        assert client.get("/jobs").text.count("with other content") == 1
        (conflict,) = client.get(path).json()["items"]
        assert conflict["differences"] == [
            {"name": "PatientName", "held": "DOE^JAN", "other": "DOE^<JANE>"}
        ]
        assert client.get(path, params={"limit": 0}).status_code == 422
        assert client.post(f"{path}/take", headers=OURS, params={"id": 99}).status_code == 404
        taken = client.post(f"{path}/take", headers=OURS, params={"id": conflict["id"]})
        assert (taken.status_code, taken.json()) == (202, {"settled": 1})
        assert client.get(path).json() == {"items": []}
        assert client.get("/api/v1/alarms").json() == {"items": []}
        assert client.post(f"{path}/dismiss", headers=OURS).json() == {"settled": 0}
        assert client.get("/api/v1/studies/9.9/conflicts").status_code == 404
    assert held.catalogue.study(STUDY).header.patient_name == "DOE^<JANE>"


@pytest.mark.parametrize(("button", "name"), [("take", "DOE^<JANE>"), ("dismiss", "DOE^JAN")])
def test_people_do_so_on_the_page_of_the_study(held: Store, button: str, name: str) -> None:
    with serving(make_parts(held)) as client:
        page = client.get(f"/studies/{STUDY}").text
        assert "DOE^&lt;JANE&gt;" in page
        (conflict,) = make_parts(held).conflicts_of(STUDY, 9)
        action = f"/studies/{STUDY}/conflicts/{button}?id={conflict.conflict.id}"
        assert f'action="{action}"' in page
        assert client.post(action, headers=OURS).status_code == 303
        assert "conflicts/take" not in client.get(f"/studies/{STUDY}").text
    study = held.catalogue.study(STUDY)
    assert (study.header.patient_name, study.state) == (name, StudyState.RECEIVING)


def test_a_page_compares_so_many_and_counts_the_others(
    held: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_pages, "_CONFLICTS", 1)
    send(held, tmp_path, "DOE^JANA")
    with serving(make_parts(held)) as client:
        page = client.get(f"/studies/{STUDY}").text
        assert "And 1 more." in page
        assert "DOE^JANA" not in page
        assert client.post(f"/studies/{STUDY}/conflicts/take", headers=OURS).status_code == 303
    assert held.catalogue.study(STUDY).header.patient_name == "DOE^JANA"


def test_so_does_the_shell(held: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    url = held.database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("ONCOPIXEL_DATA_DIR", str(held.files.data_dir))
    monkeypatch.setenv("ONCOPIXEL_DATABASE_URL", url)
    run = CliRunner().invoke
    listed = run(app, ["studies", "conflicts", STUDY])
    assert "DOE^JAN" in listed.output
    assert "DOE^<JANE>" in listed.output
    (shown,) = json.loads(run(app, ["studies", "conflicts", STUDY, "--json"]).output)
    number = str(shown["conflict"]["id"])
    settled = run(app, ["studies", "settle", STUDY, "--take", "--conflict", number, "--json"])
    assert json.loads(settled.output) == {"study_instance_uid": STUDY, "settled": 1}
    run(app, ["studies", "settle", STUDY, "--dismiss"])
    audited = json.loads(run(app, ["audit", "list", "--json", "--study", STUDY]).output)
    (record,) = audited  # what settles nothing leaves no record
    assert base64.b64encode(b"conflicts taken").decode() in record["message"]
    assert record["who"].endswith("(shell)")
    assert run(app, ["studies", "settle", STUDY]).exit_code == 2
    assert held.catalogue.study(STUDY).header.patient_name == "DOE^<JANE>"


@pytest.mark.parametrize("name", ["DOE^[JANE]", "DOE^[jane]", "DOE^JANE [/]", "\x1b[2JDOE"])
def test_the_shell_shows_a_name_as_it_was_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for given in ("DOE^JAN", name):
        send(store, tmp_path, given)
    url = store.database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("ONCOPIXEL_DATA_DIR", str(store.files.data_dir))
    monkeypatch.setenv("ONCOPIXEL_DATABASE_URL", url)
    monkeypatch.setenv("COLUMNS", "200")
    listed = CliRunner().invoke(app, ["studies", "conflicts", STUDY])
    assert listed.exit_code == 0
    assert name.replace("\x1b", "\\x1b") in listed.output
