"""Who comes in, from where, and what a browser cannot be talked into."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import httpx
import pytest
from api_builders import JOB, basic, bearer, fail, finish, make_parts, receive, serving
from builders import STUDY_UID
from conftest import Store
from fastapi.routing import APIRoute

from oncopixel_pacs import api
from oncopixel_pacs.domain import JobState

TOKEN = "correct horse of mine"  # noqa: S105
OTHER = "battery-staple-no-9"


OIDC = ("/login/oidc", "/login/oidc/callback")


def every_route() -> Iterator[tuple[str, str]]:
    """Every method and path that the modules of `api` serve, with real ids filled in."""
    yield from (("GET", "/openapi.json"), ("GET", "/static/oncopixel.css"))
    for module in pkgutil.walk_packages(api.__path__, "oncopixel_pacs.api."):
        router = getattr(importlib.import_module(module.name), "router", None)
        for route in router.routes if router else ():
            assert isinstance(route, APIRoute)
            path = route.path.replace("{job_id}", JOB).replace("{study_instance_uid}", STUDY_UID)
            path = path.replace("{sop_instance_uid}", f"{STUDY_UID}.1.1")
            path = path.replace("{series_instance_uid}", f"{STUDY_UID}.1").replace("{frames}", "1")
            path = (
                path.replace("{rejected_id}", "1")
                .replace("{record_id}", "1")
                .replace("{peer_id}", "1")
            )
            path = path.replace("{element}", "7FE00010").replace("{below:path}", "0/00091010")
            yield from ((method, path) for method in sorted(route.methods))


@pytest.fixture
def guarded(store: Store) -> Iterator[httpx.Client]:
    finish(store)
    with serving(make_parts(store, tokens=[TOKEN, OTHER])) as client:
        yield client


def status_of(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> int:
    """Ask without waiting for the end of the answer: that of a stream of changes has none."""
    with client.stream(method, path, headers=headers) as answer:
        return answer.status_code


def test_every_route_asks_who_it_is_but_those_that_are_public(guarded: httpx.Client) -> None:
    routes = list(every_route())
    assert len(routes) > 15
    public = {"/health/live", "/static/oncopixel.css", "/login", *OIDC}
    for method, path in routes:
        for headers in ({}, bearer("wrong"), basic("wrong"), {"Authorization": "Basic ???"}):
            refused = status_of(guarded, method, path, headers)
            if (method, path) == ("POST", "/login"):
                # Open to all, but not to the form of another site.
                assert refused in (401, 403), headers
                continue
            closed = path not in public
            assert (refused == 401) is closed, (method, path, headers)
        entered = status_of(guarded, method, path, bearer(TOKEN))
        # What a path names may not be there, and a request may lack what it needs.
        absent = "{" in path or path.startswith("/dicom-web") or "/objects/" in path
        fine = {200, 404, 422} if absent or path in OIDC else {200}
        assert entered in (
            fine if method != "POST" else {200, 202, 303, 401, 404, 409, 415, 422}
        ), (
            method,
            path,
        )


def test_what_does_not_exist_is_not_told_to_strangers(guarded: httpx.Client) -> None:
    assert guarded.get("/no/such/path").status_code == 401
    assert guarded.get("/no/such/path", headers=bearer(TOKEN)).status_code == 404


def test_each_of_several_tokens_opens_and_their_beginnings_do_not(guarded: httpx.Client) -> None:
    for token in (TOKEN, OTHER):
        assert guarded.get("/api/v1", headers=bearer(token)).status_code == 200
        assert guarded.get("/api/v1", headers=bearer(token[:-1])).status_code == 401
    assert guarded.get("/api/v1", headers=basic("")).status_code == 401


def test_a_browser_is_led_to_the_form_and_a_program_may_send_the_token_as_password(
    guarded: httpx.Client,
) -> None:
    asked = guarded.get("/?state=settled", headers={"Accept": "text/html"})
    assert (asked.status_code, asked.headers["location"]) == (
        303,
        "/login?next=%2F%3Fstate%3Dsettled",
    )
    program = guarded.get("/api/v1")
    assert program.headers["www-authenticate"].startswith("Basic ")
    # A script of ours must not make the browser ask in a box of its own.
    script = guarded.get("/api/v1", headers={"Sec-Fetch-Mode": "cors"})
    assert (script.status_code, script.headers["www-authenticate"]) == (401, "Bearer")
    assert guarded.get("/", headers=basic(TOKEN)).status_code == 200
    assert guarded.get("/", headers=basic(OTHER, user="")).status_code == 200


def test_without_tokens_everyone_on_this_machine_comes_in(store: Store) -> None:
    with serving(make_parts(store)) as client:
        assert client.get("/api/v1/studies").status_code == 200


# --- names that resolve to us -------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080", "LOCALHOST", "[::1]:8080"])
def test_names_of_this_machine_are_answered(store: Store, host: str) -> None:
    with serving(make_parts(store)) as client:
        assert client.get("/api/v1", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "[::1", ""]
)
def test_a_foreign_name_for_this_machine_is_refused(store: Store, host: str) -> None:
    with serving(make_parts(store)) as client:
        for path in ("/", "/api/v1/studies", "/health/live"):
            assert client.get(path, headers={"Host": host}).status_code == 421


def test_a_server_for_others_answers_under_any_name_but_through_its_proxy_alone(
    store: Store,
) -> None:
    for proxy, status in (("127.0.0.1", 200), ("192.0.2.7", 421)):
        parts = make_parts(store, tokens=[TOKEN], api={"trusted_proxies": [proxy]})
        with serving(parts) as client:
            headers = {"Host": "pacs.example", **bearer(TOKEN)}
            assert client.get("/api/v1", headers=headers).status_code == status
            assert client.get("/health/live", headers=headers).status_code == 200


# --- requests that another site sends -------------------------------------------------------------


COMPLETE = f"/api/v1/studies/{STUDY_UID}/complete"
COMPLETE_PAGE = f"/studies/{STUDY_UID}/complete"
CROSS_SITE = [
    {},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    {"Content-Type": "application/x-www-form-urlencoded"},
]


@pytest.mark.parametrize("headers", CROSS_SITE)
@pytest.mark.parametrize("path", [f"/jobs/{JOB}/retry", f"/api/v1/jobs/{JOB}/retry"])
def test_another_site_cannot_retry_a_job(store: Store, path: str, headers: dict[str, str]) -> None:
    fail(store)
    with serving(make_parts(store, tokens=[TOKEN])) as client:
        # A browser adds the password by itself; that alone must not be enough.
        refused = client.post(path, headers={**headers, **basic(TOKEN)})
    assert refused.status_code == 403
    assert store.ledger.job(JOB).state is JobState.FAILED


@pytest.mark.parametrize("header", ["Sec-Fetch-Site", "Origin", "X-Requested-With"])
def test_our_own_page_and_programs_can_retry_a_job(store: Store, header: str) -> None:
    fail(store)
    with serving(make_parts(store)) as client:
        value = {"Sec-Fetch-Site": "same-origin", "Origin": str(client.base_url).rstrip("/")}
        done = client.post(f"/jobs/{JOB}/retry", headers={header: value.get(header, "curl")})
    assert done.status_code == 303
    assert done.headers["location"] == f"/jobs/{JOB}"
    assert store.ledger.job(JOB).state is JobState.QUEUED


@pytest.mark.parametrize("headers", CROSS_SITE)
@pytest.mark.parametrize("path", [COMPLETE_PAGE, COMPLETE])
def test_another_site_cannot_declare_a_study_complete(
    store: Store, path: str, headers: dict[str, str]
) -> None:
    receive(store)
    with serving(make_parts(store, tokens=[TOKEN])) as client:
        refused = client.post(path, headers={**headers, **basic(TOKEN)})
    assert refused.status_code == 403
    assert not store.catalogue.study(STUDY_UID).declared_complete


def test_our_own_page_can_declare_a_study_complete(store: Store) -> None:
    receive(store)
    with serving(make_parts(store)) as client:
        done = client.post(COMPLETE_PAGE, headers={"Sec-Fetch-Site": "same-origin"})
    assert (done.status_code, done.headers["location"]) == (303, f"/studies/{STUDY_UID}")
    assert store.catalogue.study(STUDY_UID).declared_complete


# --- headers --------------------------------------------------------------------------------------


def test_every_answer_keeps_a_browser_strict(store: Store) -> None:
    fail(store)
    with serving(make_parts(store)) as client:
        for method, path in [*every_route(), ("GET", "/nothing")]:
            with client.stream(method, path) as answer:
                headers = answer.headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] != "public"


def test_patient_data_stays_out_of_the_cache(store: Store) -> None:
    finish(store)
    with serving(make_parts(store)) as client:
        for path in ("/", f"/jobs/{JOB}", f"/api/v1/studies/{STUDY_UID}"):
            assert client.get(path).headers["cache-control"] == "no-store"


def test_no_other_site_is_allowed_to_read(store: Store) -> None:
    with serving(make_parts(store)) as client:
        answered = client.get("/api/v1/studies", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answered.headers
