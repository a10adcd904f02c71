"""SQL where text is asked for: in every key of a search and in the paths of the API."""

from __future__ import annotations

import httpx
import pytest
from api_builders import finish, make_parts, serving
from conftest import Store

PAYLOADS = (
    "' OR '1'='1",
    "'; DROP TABLE study; --",
    '" UNION SELECT header FROM study --',
    "%' OR 1=1 --",
    "\\'; DELETE FROM instance; --",
)
KEYS = (
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "StudyDescription",
    "StudyInstanceUID",
    "StudyDate",
    "ModalitiesInStudy",
)


def answers(client: httpx.Client, payload: str) -> list[httpx.Response]:
    searches = [client.get("/dicom-web/studies", params={key: payload}) for key in KEYS]
    lists = [
        client.get("/api/v1/jobs", params={"study_instance_uid": payload}),
        client.get("/api/v1/jobs", params={"cursor": payload}),
        client.get(f"/api/v1/studies/{payload}"),
        client.get(f"/api/v1/jobs/{payload}"),
    ]
    return [*searches, *lists]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_sql_in_a_query_finds_nothing_and_changes_nothing(any_store: Store, payload: str) -> None:
    finish(any_store)
    before = any_store.catalogue.studies().items
    with serving(make_parts(any_store)) as client:
        for answer in answers(client, payload):
            assert answer.status_code < 500
            found = answer.json() if answer.content else []
            assert answer.status_code >= 400 or not (
                found.get("items") if isinstance(found, dict) else found
            ), answer.url
    assert any_store.catalogue.studies().items == before
    assert before
