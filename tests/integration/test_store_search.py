"""Searching what is held, on each database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from api_builders import (
    HEADER,
    analyse,
    finish,
    make_parts,
    queue,
    receive,
    serving,
    write,
)
from builders import STUDY_UID, make_instance
from conftest import Store
from report_builders import FOUR_VIEWS, case
from sqlalchemy import create_engine, text

from oncopixel_pacs.domain import ObjectKind
from oncopixel_pacs.store import database
from oncopixel_pacs.store.database import open_database
from oncopixel_pacs.store.search import MODALITY_OF_KIND, Criteria, Search

MAX = "2.25.3"
OLD = "2.25.2"


@pytest.fixture
def search(any_store: Store) -> Iterator[Search]:
    """Hold a study with results, and two others that differ in every key."""
    finish(any_store, images=4)
    receive(
        any_store,
        study=MAX,
        header=replace(
            HEADER,
            patient_name="MÜLLER^MAX",
            patient_id="100%_!",
            accession_number="B-1",
            study_date="20250315",
            study_time="101530",
            description="Follow-up",
        ),
    )
    bare = replace(HEADER, patient_name="", patient_id="", study_date="", accession_number="")
    instance = make_instance(1, study=OLD, modality="CT", sop_class_uid="1.2.3")
    any_store.catalogue.add_instance(instance, bare)
    yield Search(any_store.database)


CASES = [
    (Criteria(), {STUDY_UID, MAX, OLD}),
    (Criteria(study_instance_uids=(MAX, OLD, "2.25.9")), {MAX, OLD}),
    (Criteria(texts={"patient_name": "example^jane"}), {STUDY_UID}),
    (Criteria(texts={"patient_name": "müller*"}), {MAX}),
    (Criteria(texts={"patient_name": "M?LLER^*"}), {MAX}),
    (Criteria(texts={"patient_name": "*"}), {STUDY_UID, MAX, OLD}),
    (Criteria(texts={"patient_id": "100%_!"}), {MAX}),
    (Criteria(texts={"patient_id": "100%_*"}), {MAX}),
    (Criteria(texts={"patient_id": "P_0007*"}), set()),
    (Criteria(texts={"patient_id": "%"}), set()),
    (Criteria(texts={"accession_number": "B-1", "patient_name": "*max"}), {MAX}),
    (Criteria(texts={"study_description": "FOLLOW*"}), {MAX}),
    (Criteria(ranges={"study_date": ("20250301", "20250301")}), {STUDY_UID}),
    (Criteria(ranges={"study_date": ("20250302", "")}), {MAX}),
    (Criteria(ranges={"study_date": ("", "20250310")}), {STUDY_UID}),
    (Criteria(ranges={"study_time": ("1015", "1015")}), {MAX}),
    (Criteria(modalities_in_study=("SEG",)), {STUDY_UID}),
    (Criteria(modalities_in_study=("CT", "SR")), {STUDY_UID, OLD}),
    (Criteria(sop_class_uids=("1.2.3",)), {OLD}),
    (Criteria(sop_instance_uids=(f"{MAX}.1.1",)), {MAX}),
    (Criteria(series_instance_uids=(f"{MAX}.1",)), {MAX}),
]


def test_studies_are_found_by_every_key(search: Search) -> None:
    found = [(criteria, set(search.studies(criteria, 10))) for criteria, _ in CASES]
    assert found == CASES


def test_images_come_before_results_and_pages_do_not_overlap(search: Search) -> None:
    objects = search.objects(Criteria(study_instance_uids=(STUDY_UID,)))
    assert [item.modality for item in objects] == ["MG"] * 4 + ["SEG", "SR"]
    assert [item.is_result for item in objects] == [False] * 4 + [True] * 2
    series = search.series(Criteria(study_instance_uids=(STUDY_UID,)), 10)
    assert len(series) == len(set(series)) == len({item.series_instance_uid for item in objects})
    assert series[0] == (STUDY_UID, objects[0].series_instance_uid)
    pages = [search.objects(Criteria(), 3, offset) for offset in (0, 3, 6, 9)]
    assert [len(page) for page in pages] == [3, 3, 2, 0]
    assert tuple(item for page in pages for item in page) == search.objects(Criteria())
    studies = [search.studies(Criteria(), 1, offset)[0] for offset in range(3)]
    assert tuple(studies) == search.studies(Criteria(), 9)
    assert studies[0] == STUDY_UID  # the last one that received an image


def test_a_series_under_one_uid_in_two_studies_is_a_row_of_each(store: Store) -> None:
    for number, study in enumerate((STUDY_UID, MAX), 1):
        one = make_instance(number, study=study, series_instance_uid="2.25.500")
        store.catalogue.add_instance(one, HEADER)
    with serving(make_parts(store)) as client:

        def studies(**asked: Any) -> list[str]:
            found = client.get("/dicom-web/series", params=asked).json()
            return [item["0020000D"]["Value"][0] for item in found]

        pages = [studies(limit=1, offset=offset) for offset in (0, 1)]
        assert sorted(pages) == sorted([[STUDY_UID], [MAX]])
        assert sorted(studies()) == sorted([STUDY_UID, MAX])
        assert studies(StudyInstanceUID=MAX) == [MAX]


def test_a_result_that_an_archive_sends_back_is_found_once(
    search: Search, any_store: Store
) -> None:
    criteria = Criteria(study_instance_uids=(STUDY_UID,))
    before = search.objects(criteria)
    back = make_instance(9, modality="SR", sop_class_uid=before[-1].sop_class_uid)
    facts = replace(back.facts, sop_instance_uid=before[-1].sop_instance_uid)
    any_store.catalogue.add_instance(replace(back, facts=facts), HEADER)
    assert search.objects(criteria) == before


def test_only_the_results_of_the_latest_job_that_wrote_any_are_held(any_store: Store) -> None:
    finish(any_store, images=1)
    search = Search(any_store.database)
    of_study = Criteria(study_instance_uids=(STUDY_UID,), modalities=("SEG", "SR"))
    first = search.objects(of_study)
    assert len(first) == 2
    any_store.catalogue.add_instance(make_instance(2), HEADER)
    queue(any_store, "second", at=100)
    assert search.objects(of_study) == first
    analyse(any_store, "second")
    write(any_store, "second")
    objects = {item.sop_instance_uid for item in any_store.ledger.job("second").objects}
    assert {item.sop_instance_uid for item in search.objects(of_study)} == objects


def test_every_kind_of_result_is_found_by_the_modality_in_its_file(tmp_path: Path) -> None:
    built = case(tmp_path, dict.fromkeys(FOUR_VIEWS, 1)).build(wanted=tuple(ObjectKind))
    found = {item.kind: item.dataset.Modality for item in built}
    # A note that takes back earlier results is a Key Object Selection too.
    assert found | {ObjectKind.REJECTION: found[ObjectKind.KOS]} == MODALITY_OF_KIND


def test_studies_of_an_older_version_are_found_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(
            text(
                "INSERT INTO study (study_instance_uid, state, revision, first_received_at,"
                " last_received_at, waiting_for, conflicts, header) VALUES"
                " ('2.25.1', 'settled', 1, :noon, :noon, '', 0, :header)"
            ),
            {"noon": "2025-03-01 12:00:00.000000", "header": json.dumps(asdict(HEADER))},
        )
        facts = {"series_instance_uid": "2.25.1.1", "sop_class_uid": "1.2.3", "modality": "MG"}
        connection.execute(
            text(
                "INSERT INTO instance (sop_instance_uid, study_instance_uid, path, sha256,"
                " size_bytes, received_at, calling_ae_title, facts) VALUES"
                " ('2.25.1.2', '2.25.1', 'p', 's', 1, :noon, '', :facts)"
            ),
            {"noon": "2025-03-01 12:00:00.000000", "facts": json.dumps(facts)},
        )
    engine.dispose()
    opened = open_database(url)
    criteria = Criteria(
        texts={"patient_name": "EXAMPLE*", "patient_id": "P-0007"}, sop_class_uids=("1.2.3",)
    )
    assert Search(opened).studies(criteria, 9) == ("2.25.1",)
    opened.close()
