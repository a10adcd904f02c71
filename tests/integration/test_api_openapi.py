"""The OpenAPI description is complete: words, shapes and examples that are true."""

from __future__ import annotations

import re
from typing import Any

import pytest
from api_builders import finish, make_parts, serving
from conftest import Store
from fastapi.routing import APIRoute
from pydantic import BaseModel

from oncopixel_pacs.api import (
    alarms,
    audit_records,
    conflicts,
    destinations,
    events,
    feedback,
    health,
    models,
    monitoring,
    overview,
    peers,
    people,
    problems,
    quarantine,
    schemas,
    settings_view,
    shadows,
    study_schemas,
    upload_schemas,
    views,
)
from oncopixel_pacs.api.application import create_app
from oncopixel_pacs.api.dicomweb import frames, rendered, retrieve, search
from oncopixel_pacs.api.dicomweb.media_types import DICOM_JSON, MULTIPART
from oncopixel_pacs.api.dicomweb.rendered import PNG

SHAPES = [
    shape
    for module in (
        destinations,
        events,
        health,
        models,
        overview,
        peers,
        problems,
        people,
        conflicts,
        quarantine,
        schemas,
        study_schemas,
        alarms,
        audit_records,
        feedback,
        monitoring,
        settings_view,
        shadows,
        upload_schemas,
        views,
    )
    for shape in vars(module).values()
    if isinstance(shape, type) and issubclass(shape, BaseModel) and shape is not BaseModel
    if shape.__module__ == module.__name__
]


@pytest.fixture
def description(store: Store) -> dict[str, Any]:
    return create_app(make_parts(store)).openapi()


def operations(description: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, found in description["paths"].items()
        for method, operation in found.items()
    ]


def test_every_route_of_the_api_is_described(description: dict[str, Any]) -> None:
    described = {name for name, _ in operations(description) if "/dicom-web/" not in name}
    assert described == {
        "GET /api/v1",
        "GET /api/v1/me",
        "GET /api/v1/audit",
        "GET /api/v1/users",
        "POST /api/v1/users",
        "PATCH /api/v1/users/{name}",
        "DELETE /api/v1/users/{name}",
        "GET /api/v1/tokens",
        "POST /api/v1/tokens",
        "DELETE /api/v1/tokens/{token_id}",
        "GET /api/v1/audit/{record_id}",
        "POST /api/v1/audit/verify",
        "GET /api/v1/studies",
        "GET /api/v1/studies/{study_instance_uid}",
        "GET /api/v1/studies/{study_instance_uid}/routing",
        "POST /api/v1/studies/{study_instance_uid}/complete",
        "GET /api/v1/studies/{study_instance_uid}/conflicts",
        "POST /api/v1/studies/{study_instance_uid}/conflicts/dismiss",
        "POST /api/v1/studies/{study_instance_uid}/conflicts/take",
        "POST /api/v1/studies/{study_instance_uid}/read-again",
        "POST /api/v1/studies/{study_instance_uid}/send-again",
        "GET /api/v1/studies/{study_instance_uid}/views",
        "GET /api/v1/overview",
        "GET /api/v1/monitoring",
        "GET /api/v1/monitoring/agreement",
        "GET /api/v1/monitoring/shadows",
        "GET /api/v1/jobs/{job_id}/shadows",
        "GET /api/v1/jobs/{job_id}/shadows/{model}",
        "GET /api/v1/feedback",
        "GET /api/v1/studies/{study_instance_uid}/feedback",
        "PUT /api/v1/jobs/{job_id}/findings/{tracking_uid}/feedback",
        "DELETE /api/v1/jobs/{job_id}/findings/{tracking_uid}/feedback",
        "GET /api/v1/alarms",
        "GET /api/v1/settings",
        "GET /api/v1/events",
        "POST /api/v1/studies",
        "GET /api/v1/pulls",
        "GET /api/v1/pulls/{pull_id}",
        "GET /api/v1/workitems",
        "GET /api/v1/sources",
        "GET /api/v1/jobs",
        "GET /api/v1/jobs/{job_id}",
        "POST /api/v1/jobs/{job_id}/retry",
        "POST /api/v1/jobs/{job_id}/cancel",
        "GET /api/v1/jobs/{job_id}/images/{sop_instance_uid}/overlay.png",
        "POST /api/v1/images",
        "GET /api/v1/uploads/{upload_id}",
        "GET /api/v1/jobs/{job_id}/objects/{sop_instance_uid}",
        "GET /api/v1/models",
        "GET /api/v1/destinations",
        "POST /api/v1/destinations/{name}/echo",
        "POST /api/v1/destinations/{name}/test",
        "GET /api/v1/peers",
        "POST /api/v1/peers",
        "POST /api/v1/peers/rejected/{rejected_id}/allow",
        "DELETE /api/v1/peers/{peer_id}",
        "GET /api/v1/quarantine",
        "GET /health/live",
        "GET /health/ready",
        "GET /metrics",
        "GET /api/v1/webhooks",
        "POST /api/v1/webhooks/{name}/test",
        "POST /api/v1/webhooks/calls/{call_id}/again",
    }


def test_every_route_of_dicomweb_is_described(description: dict[str, Any]) -> None:
    described = {name for name, _ in operations(description) if "/dicom-web/" in name}
    served = {
        f"GET {route.path.replace(':path', '')}"
        for module in (frames, rendered, retrieve, search)
        for route in module.router.routes
        if isinstance(route, APIRoute)
    }
    assert described == served
    assert len(served) == 20


def test_every_route_has_summary_words_shape_and_example(description: dict[str, Any]) -> None:
    shapes = description["components"]["schemas"]
    for name, operation in operations(description):
        assert operation["summary"], name
        assert operation["description"], name
        good = next(item for code, item in operation["responses"].items() if code[0] == "2")
        if name.endswith("overlay.png"):
            assert list(good["content"]) == ["image/png"]
            continue
        if "/objects/" in name:
            assert list(good["content"]) == ["application/dicom"]
            continue
        if name.endswith("/events"):
            assert list(good["content"]) == ["text/event-stream"]
            continue
        if name == "GET /metrics":
            assert good["content"]["text/plain"]["example"]
            continue
        if name.endswith("/audit/{record_id}"):
            assert list(good["content"]) == ["application/xml"]
            continue
        if "/dicom-web/" in name:
            assert set(good["content"]) & {DICOM_JSON, MULTIPART, PNG}, name
            continue
        reference = good["content"]["application/json"]["schema"]["$ref"]
        assert shapes[reference.rpartition("/")[2]]["examples"], name


def test_every_parameter_says_what_it_means(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        for parameter in operation.get("parameters", []):
            known = parameter.get("description") or parameter["in"] == "path"
            assert known, f"{name}: {parameter['name']}"


def test_generated_clients_get_one_name_for_each_function_and_one_for_every_problem(
    description: dict[str, Any],
) -> None:
    names = [operation["operationId"] for _, operation in operations(description)]
    assert len(set(names)) == len(names)
    assert {"list_studies", "show_job", "upload_images", "search_studies"} <= set(names)
    assert all(name.isidentifier() and "api_v1" not in name for name in names)
    named = [
        content["schema"]
        for _, operation in operations(description)
        for item in operation["responses"].values()
        for kind, content in item.get("content", {}).items()
        if kind == "application/problem+json"
    ]
    assert named
    assert all(schema == {"$ref": "#/components/schemas/Problem"} for schema in named)
    assert "detail" in description["components"]["schemas"]["Problem"]["properties"]


def test_every_error_is_described_as_a_problem(description: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in description["components"]["schemas"]
    for name, operation in operations(description):
        errors = {code: item for code, item in operation["responses"].items() if code[0] in "45"}
        assert errors or name == "GET /health/live"
        for item in errors.values():
            assert list(item["content"]) == ["application/problem+json"], name


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_examples_are_true(shape: type[BaseModel]) -> None:
    assert shape.__doc__
    extra = shape.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    (example,) = extra["examples"]  # type: ignore[misc, str-unpack]
    assert isinstance(example, dict)
    shown = shape.model_validate(example)
    assert shown.model_dump(mode="json").keys() == example.keys()


def test_a_real_answer_has_the_shape_of_the_example(store: Store) -> None:
    finish(store)
    with serving(make_parts(store)) as client:
        listed = client.get("/api/v1/jobs").json()["items"][0]
        job = client.get(f"/api/v1/jobs/{listed['id']}").json()
    assert schemas.JobAnswer.model_validate(job).model_dump(mode="json") == job


def test_the_documentation_page_loads_nothing_from_elsewhere(store: Store) -> None:
    with serving(make_parts(store)) as client:
        page = client.get("/docs").text
        assert client.get("/openapi.json").json()["openapi"].startswith("3.")
    assert "/api/v1/jobs/{job_id}/retry" in page
    assert "&#34;finding_count&#34;: 1" in page
    assert set(re.findall(r"<script[^>]*>", page)) == {
        f'<script src="/static/{name}.js" defer>'
        for name in ("vendor/htmx.min", "vendor/htmx-sse.min", "live")
    }
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page.replace("&#34;https://ris.example", "")
