"""Admins add, change and remove users and tokens over the API; secrets are told once or never."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from api_builders import bearer, make_parts, serving
from builders import later
from conftest import Store

from oncopixel_pacs.domain.access import AccessRole
from oncopixel_pacs.store.api_tokens import ApiTokens

PASSWORD = "a few words will do"  # noqa: S105
USER = {"name": "Zoë Müller", "role": "operator", "password": PASSWORD}


@pytest.fixture
def admin(store: Store) -> Iterator[httpx.Client]:
    """Ask as an admin, of a server that asks who one is."""
    _, secret = ApiTokens(store.database).create("admin", AccessRole.ADMIN, (), later(0), None)
    with serving(make_parts(store)) as client:
        client.headers.update(bearer(secret))
        yield client


def signed_in(client: httpx.Client, password: str) -> int:
    """Sign in as a browser does."""
    with httpx.Client(base_url=client.base_url, trust_env=False, timeout=20) as browser:
        form = {"user": USER["name"], "password": password}
        origin = {"Origin": str(client.base_url).rstrip("/")}
        return browser.post("/login", data=form, headers=origin).status_code


def test_a_user_is_added_changed_and_removed(admin: httpx.Client) -> None:
    added = admin.post("/api/v1/users", json=USER)
    assert added.status_code == 201
    assert added.json().keys() == {"name", "role", "created_at"}
    assert signed_in(admin, PASSWORD) == 303
    path = f"/api/v1/users/{USER['name']}"
    assert admin.patch(path, json={"role": "viewer"}).json()["role"] == "viewer"
    assert signed_in(admin, PASSWORD) == 303
    assert admin.patch(path, json={"password": PASSWORD * 2}).status_code == 200
    assert signed_in(admin, PASSWORD) == 401
    assert signed_in(admin, PASSWORD * 2) == 303
    assert admin.delete(path).json() == {"items": []}
    assert signed_in(admin, PASSWORD * 2) == 401


def test_what_does_not_fit_is_told_and_no_password_is_repeated(admin: httpx.Client) -> None:
    admin.post("/api/v1/users", json=USER)
    assert admin.post("/api/v1/users", json=USER).status_code == 409
    for wrong in ({"password": "too short"}, {"name": "a\nb"}, {"name": ""}, {"role": "king"}):
        answer = admin.post("/api/v1/users", json={**USER, "name": "other", **wrong})
        assert answer.status_code == 422, wrong
        assert PASSWORD not in answer.text
        assert "too short" not in answer.text.replace("String should", "")
    assert admin.patch("/api/v1/users/nobody", json={"role": "admin"}).status_code == 404
    assert admin.delete("/api/v1/users/nobody").status_code == 404
    assert admin.delete("/api/v1/tokens/abcdef01").status_code == 404


def test_a_token_is_told_once_works_and_is_revoked(admin: httpx.Client) -> None:
    wanted = {"name": "ris", "role": "viewer", "areas": ["api"], "days": 30}
    made = admin.post("/api/v1/tokens", json=wanted).json()
    theirs = bearer(made["token"])
    assert admin.get("/api/v1/me", headers=theirs).json()["name"] == "ris"
    assert admin.get("/dicom-web/studies", headers=theirs).status_code == 403
    assert admin.get("/api/v1/tokens", headers=theirs).status_code == 403
    listed = admin.get("/api/v1/tokens")
    assert made["token"] not in listed.text
    assert [item["name"] for item in listed.json()["items"]] == ["ris", "admin"]
    left = admin.delete(f"/api/v1/tokens/{made['id']}").json()["items"]
    assert [item["name"] for item in left] == ["admin"]
    assert admin.get("/api/v1/me", headers=theirs).status_code == 401
