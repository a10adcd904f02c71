"""Users, tokens, sessions, an account of the institution; and who may do what."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from api_builders import JOB, bearer, finish, make_parts, serving
from argon2 import PasswordHasher
from builders import STUDY_UID, later
from certificates import Authority
from conftest import Store
from oidc_provider import CLIENT, SECRET, Provider, oidc_provider

from oncopixel_pacs.api.access import SESSION_COOKIE, require_sign_in
from oncopixel_pacs.api.application import create_app
from oncopixel_pacs.api.http_server import HttpServer, https_context
from oncopixel_pacs.api.login_limits import LoginLimits
from oncopixel_pacs.api.route_rules import PUBLIC, required_role
from oncopixel_pacs.api.sign_in import local_target
from oncopixel_pacs.domain.access import AccessRole, Area, User
from oncopixel_pacs.errors import ConfigurationError, NotFound
from oncopixel_pacs.settings import Settings, TlsSettings
from oncopixel_pacs.store.accounts import Accounts
from oncopixel_pacs.store.api_tokens import ApiTokens
from tests.integration.test_api_access import every_route

PASSWORD = "four words that rhyme"  # noqa: S105
OURS = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
#: As cheap as may be: what is tested is not how long it takes.
HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)


@dataclass
class Clock:
    """A clock that a test moves."""

    value: datetime = later(3600)

    def __call__(self) -> datetime:
        return self.value

    def advance(self, **span: float) -> None:
        self.value += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(store: Store, clock: Clock) -> Iterator[httpx.Client]:
    """Serve a store with a user of each role, each named like it."""
    finish(store)
    for role in AccessRole:
        Accounts(store.database).add(User(str(role), role, clock(), HASH))
    with serving(make_parts(store, now=clock)) as served:
        yield served


def sign_in(client: httpx.Client, user: str, password: str = PASSWORD) -> httpx.Response:
    form = {"user": user, "password": password, "next": "/jobs"}
    return client.post("/login", data=form, headers=OURS)


def me(client: httpx.Client) -> dict[str, object]:
    answer = client.get("/api/v1/me")
    return dict(answer.json()) if answer.status_code == 200 else {"status": answer.status_code}


def token_of(store: Store, role: AccessRole, *areas: Area) -> dict[str, str]:
    tokens = ApiTokens(store.database)
    return bearer(tokens.create("test", role, areas, later(0), later(999999))[1])


# --- people ---------------------------------------------------------------------------------


def test_a_person_signs_in_and_out(client: httpx.Client) -> None:
    begun = sign_in(client, "operator")
    assert (begun.status_code, begun.headers["location"]) == (303, "/jobs")
    cookie = begun.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert me(client) == {
        "name": "operator",
        "role": "operator",
        "sign_in": "password",
        "areas": [],
    }
    page = client.get("/jobs", headers=OURS)
    assert "Sign out" in page.text
    secret = client.cookies[SESSION_COOKIE]
    assert client.post("/logout", headers=OURS).status_code == 303
    again = client.get("/api/v1/me", headers={"Cookie": f"{SESSION_COOKIE}={secret}"})
    assert again.status_code == 401


@pytest.mark.parametrize(
    ("user", "password"),
    [("viewer", "four words that rhymE"), ("viewer", ""), ("nobody", PASSWORD), ("", "")],
)
def test_who_is_not_known_gets_no_session(client: httpx.Client, user: str, password: str) -> None:
    refused = sign_in(client, user, password)
    assert refused.status_code == 401
    assert "is not known" in refused.text
    assert "set-cookie" not in refused.headers


def test_a_session_ends_by_time(client: httpx.Client, clock: Clock) -> None:
    sign_in(client, "viewer")
    clock.advance(hours=11.9)
    assert me(client)["name"] == "viewer"
    clock.advance(hours=0.2)
    assert me(client) == {"status": 401}


def test_what_an_admin_changes_holds_at_once(client: httpx.Client, store: Store) -> None:
    accounts = Accounts(store.database)
    sign_in(client, "viewer")
    accounts.change("viewer", role=AccessRole.OPERATOR)
    assert me(client)["role"] == "operator"
    accounts.change("viewer", password_hash=HASH)
    assert me(client) == {"status": 401}
    sign_in(client, "viewer")
    accounts.remove("viewer")
    assert me(client) == {"status": 401}


def test_the_sixth_try_waits_and_the_wait_doubles(client: httpx.Client, clock: Clock) -> None:
    for _ in range(5):
        assert sign_in(client, "viewer", "wrong").status_code == 401
    refused = sign_in(client, "viewer")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "16")
    assert sign_in(client, "operator").status_code == 303
    clock.advance(seconds=17)
    assert sign_in(client, "viewer", "wrong").status_code == 401
    assert sign_in(client, "viewer").headers["retry-after"] == "31"
    clock.advance(seconds=31)
    assert sign_in(client, "viewer").status_code == 303
    assert sign_in(client, "viewer", "wrong").status_code == 401


def test_who_guesses_the_old_password_waits_as_long(client: httpx.Client) -> None:
    sign_in(client, "viewer")
    guess = {"current": "wrong", "new": "quite another one", "again": "quite another one"}
    ours = {"Origin": str(client.base_url).rstrip("/")}
    answers = [client.post("/password", data=guess, headers=ours) for _ in range(6)]
    assert [item.status_code for item in answers] == [422] * 5 + [429]
    assert answers[-1].headers["retry-after"] == "16"


def test_one_address_cannot_try_many_names(clock: Clock) -> None:
    limits = LoginLimits(clock)
    for number in range(20):
        assert not limits.wait_seconds(f"user{number}", "192.0.2.1")
        limits.failed(f"user{number}", "192.0.2.1")
    assert limits.wait_seconds("another", "192.0.2.1")
    assert not limits.wait_seconds("another", "192.0.2.2")


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "", "/a\r\nb"],
)
def test_signing_in_leads_to_our_own_pages_alone(target: str) -> None:
    assert local_target(target) == "/"
    assert local_target("/jobs?state=failed") == "/jobs?state=failed"


def test_a_form_of_another_site_cannot_sign_in(client: httpx.Client) -> None:
    form = {"user": "viewer", "password": PASSWORD}
    refused = client.post("/login", data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


# --- programs -------------------------------------------------------------------------------


def test_a_token_lives_until_it_expires_or_is_revoked(
    client: httpx.Client, store: Store, clock: Clock
) -> None:
    tokens = ApiTokens(store.database)
    made, secret = tokens.create("ris", AccessRole.VIEWER, (), clock(), clock() + timedelta(days=1))
    assert client.get("/api/v1/me", headers=bearer(secret)).json()["name"] == "ris"
    assert tokens.all()[0].last_used_at == clock()
    clock.advance(days=1.01)
    assert client.get("/api/v1/me", headers=bearer(secret)).status_code == 401
    other, secret = tokens.create("ris", AccessRole.VIEWER, (), clock(), None)
    assert client.get("/api/v1/me", headers=bearer(secret)).status_code == 200
    tokens.revoke(other.id)
    assert client.get("/api/v1/me", headers=bearer(secret)).status_code == 401


def test_a_token_is_kept_as_a_digest_alone(store: Store) -> None:
    _, secret = ApiTokens(store.database).create("ris", AccessRole.ADMIN, (), later(0), None)
    store.database.close()
    kept = b"".join(path.read_bytes() for path in Path(store.files.data_dir).glob("*.sqlite*"))
    assert secret.encode() not in kept


def test_a_narrowed_token_stays_in_its_area(client: httpx.Client, store: Store) -> None:
    headers = token_of(store, AccessRole.ADMIN, Area.DICOMWEB)
    assert client.get("/dicom-web/studies", headers=headers).status_code == 200
    for path in ("/api/v1/studies", "/jobs", "/api/v1/uploads/1", "/health/ready"):
        assert client.get(path, headers=headers).status_code == 403
    token = headers["Authorization"].removeprefix("Bearer ")
    refused = client.post("/login", data={"token": token}, headers=OURS)
    assert refused.status_code == 401


def test_a_token_can_begin_a_session_that_ends_with_it(client: httpx.Client, store: Store) -> None:
    tokens = ApiTokens(store.database)
    made, secret = tokens.create("my own", AccessRole.VIEWER, (), later(0), None)
    assert client.post("/login", data={"token": secret}, headers=OURS).status_code == 303
    assert me(client)["name"] == "my own"
    tokens.revoke(made.id)
    assert me(client) == {"status": 401}


def test_a_session_ends_when_its_token_does(
    client: httpx.Client, store: Store, clock: Clock
) -> None:
    tokens = ApiTokens(store.database)
    _, secret = tokens.create(
        "short", AccessRole.VIEWER, (), later(0), clock() + timedelta(hours=1)
    )
    assert client.post("/login", data={"token": secret}, headers=OURS).status_code == 303
    assert me(client)["name"] == "short"
    clock.advance(hours=1)
    assert me(client) == {"status": 401}


def test_a_token_that_left_the_configuration_leaves_no_session(store: Store) -> None:
    """It leaked, was replaced, and the server was restarted."""
    old, new = "leaked-" + "x" * 16, "fresh-" + "y" * 16
    with serving(make_parts(store, tokens=(old,))) as client:
        assert client.post("/login", data={"token": old}, headers=OURS).status_code == 303
        assert me(client)["role"] == "admin"
        cookie = {"Cookie": f"{SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}"}
    with serving(make_parts(store, tokens=(old, new))) as client:
        assert client.get("/api/v1/me", headers=cookie).status_code == 200
    with serving(make_parts(store, tokens=(new,))) as client:
        assert client.get("/api/v1/me", headers=cookie).status_code == 401


def test_a_session_of_an_open_server_ends_when_it_is_closed(store: Store, clock: Clock) -> None:
    with serving(make_parts(store, now=clock)) as client:
        assert client.post("/login", data={"token": "anything"}, headers=OURS).status_code == 303
        assert me(client)["role"] == "admin"
        Accounts(store.database).add(User("jane", AccessRole.VIEWER, clock(), HASH))
        assert me(client) == {"status": 401}


# --- roles ----------------------------------------------------------------------------------


def test_every_route_lets_in_exactly_the_roles_that_the_table_names(
    client: httpx.Client, store: Store
) -> None:
    everyone = {role: token_of(store, role) for role in AccessRole}
    seen = set()
    for method, path in every_route():
        needed = required_role(method, path)
        for role, headers in everyone.items():
            status = status_of(client, method, path, headers)
            allowed = needed is PUBLIC or role.includes(AccessRole(needed))
            assert (status != 403 or path.startswith("/login")) is allowed, (method, path, role)
            seen.add((role, allowed))
        stranger = status_of(client, method, path, {})
        assert (stranger != 401) is (needed is PUBLIC) or path == "/login", (method, path)
    assert {(AccessRole.VIEWER, False), (AccessRole.OPERATOR, False)} <= seen


def status_of(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> int:
    """Ask, without reading the answer: that of changes has no end."""
    with client.stream(method, path, headers=headers) as answer:
        return answer.status_code


def test_looking_never_needs_more_than_acting() -> None:
    for _, path in every_route():
        read, write = required_role("GET", path), required_role("POST", path)
        assert read is PUBLIC or (
            write is not PUBLIC and AccessRole(write).includes(AccessRole(read))
        )


def test_what_no_rule_names_is_closed() -> None:
    assert required_role("GET", "/brand/new") is AccessRole.VIEWER
    assert required_role("POST", "/api/v1/brand/new") is AccessRole.OPERATOR
    assert required_role("BREW", "/") is AccessRole.OPERATOR


def test_the_documented_table_is_the_one_that_holds() -> None:
    text = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z]+) (/[^`]*)` \| (\w+) \|$", text, flags=re.MULTILINE)
    documented = {(method, path): role for method, path, role in rows}
    from tests.unit.test_docs import routes_with_methods

    true = {}
    for method, path in routes_with_methods():
        needed = required_role(method, re.sub(r"\{[^}]*\}", "1", path))
        true[method, path] = "everyone" if needed is PUBLIC else str(needed)
    missing = "\n".join(
        f"| `{method} {path}` | {role} |"
        for (method, path), role in sorted(true.items(), key=lambda item: item[0][::-1])
    )
    assert documented == true, f"docs/access.md must say:\n{missing}"


def test_a_viewer_cannot_retry_and_an_operator_cannot_let_a_sender_in(
    client: httpx.Client, store: Store
) -> None:
    viewer, operator = (token_of(store, role) for role in list(AccessRole)[:2])
    retry, peers = f"/api/v1/jobs/{JOB}/retry", "/api/v1/peers"
    refused = client.post(retry, headers=viewer)
    assert refused.status_code == 403
    assert "needs the role operator" in refused.json()["detail"]
    assert client.post(retry, headers=operator).status_code == 409
    assert client.post(peers, headers=operator, json={"ae_title": "MG1"}).status_code == 403
    assert client.get(f"/api/v1/studies/{STUDY_UID}", headers=viewer).status_code == 200


# --- open and closed ------------------------------------------------------------------------


def test_an_open_server_closes_with_its_first_user(store: Store) -> None:
    with serving(make_parts(store)) as client:
        assert me(client)["sign_in"] == "open"
        Accounts(store.database).add(User("jane", AccessRole.VIEWER, later(0), HASH))
        assert me(client) == {"status": 401}
        Accounts(store.database).remove("jane")
        assert me(client) == {"status": 401}


def test_a_server_for_others_does_not_start_while_nobody_can_sign_in(store: Store) -> None:
    settings = Settings.model_validate({"api": {"trusted_proxies": ["127.0.0.1"]}})
    accounts, tokens = Accounts(store.database), ApiTokens(store.database)
    with pytest.raises(ConfigurationError, match="nobody can sign in"):
        require_sign_in(settings, accounts, tokens)
    tokens.create("ris", AccessRole.VIEWER, (), later(0), None)
    require_sign_in(settings, accounts, tokens)
    with serving(make_parts(store, api={"trusted_proxies": ["127.0.0.1"]})) as client:
        assert client.get("/api/v1").status_code == 401


def test_over_https_the_cookie_is_secure(store: Store, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("server")
    Accounts(store.database).add(User("jane", AccessRole.VIEWER, later(0), HASH))
    parts = make_parts(store, api={"certificate": own.certificate, "key": own.key})
    server = HttpServer(create_app(parts), "127.0.0.1", 0, https_context(parts.settings.api))
    address = f"https://127.0.0.1:{server.start()}"
    try:
        with httpx.Client(
            base_url=address,
            verify=ssl.create_default_context(cafile=authority.ca_file),
            trust_env=False,
        ) as client:
            begun = sign_in(client, "jane")
            assert "; Secure" in begun.headers["set-cookie"]
            assert begun.headers["strict-transport-security"].startswith("max-age=")
            assert me(client)["name"] == "jane"
    finally:
        server.stop()


def test_what_a_trusted_proxy_says_is_believed(store: Store) -> None:
    Accounts(store.database).add(User("jane", AccessRole.VIEWER, later(0), HASH))
    with serving(make_parts(store, api={"trusted_proxies": ["127.0.0.1"]})) as client:
        form = {"user": "jane", "password": PASSWORD}
        headers = {**OURS, "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.9"}
        assert "; Secure" in client.post("/login", data=form, headers=headers).headers["set-cookie"]


# --- the account of the institution -----------------------------------------------------------


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Provider]:
    with oidc_provider() as running:
        yield running


@pytest.fixture
def provider(running_provider: Provider) -> Iterator[Provider]:
    before = replace(running_provider)
    before.claims, before.change = dict(running_provider.claims), {}
    yield running_provider
    running_provider.claims, running_provider.change = before.claims, {}
    running_provider.userinfo = {}
    running_provider.key, running_provider.signing_key = before.key, None
    running_provider.further_keys = []


@pytest.fixture
def institution(store: Store, provider: Provider) -> Iterator[httpx.Client]:
    oidc = {
        "issuer": provider.address,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "viewers": ["readers"],
        "admins": ["it"],
    }
    with serving(make_parts(store, api={"oidc": oidc})) as client:
        yield client


def come_and_go(client: httpx.Client) -> httpx.Response:
    """Do what a browser does: to the provider, and back."""
    left = client.get("/login/oidc", params={"next": "/jobs"})
    assert left.status_code == 303
    sent_back = httpx.get(left.headers["location"], trust_env=False).headers["location"]
    return client.get(sent_back)


def test_an_account_of_the_institution_signs_in_with_the_role_of_its_group(
    institution: httpx.Client, provider: Provider
) -> None:
    assert institution.get("/api/v1").status_code == 401
    assert "/login/oidc?next=" in institution.get("/login").text
    begun = come_and_go(institution)
    assert (begun.status_code, begun.headers["location"]) == (303, "/jobs")
    assert me(institution) == {"name": "jane", "role": "viewer", "sign_in": "oidc", "areas": []}
    provider.claims["groups"] = ["readers", "it"]
    come_and_go(institution)
    assert me(institution)["role"] == "admin"


def test_an_account_of_the_institution_can_be_signed_out_at_once(
    institution: httpx.Client, store: Store
) -> None:
    """Its groups are read when it signs in; who was dismissed stayed for as long as the session."""
    come_and_go(institution)
    assert institution.get("/api/v1").status_code == 200
    Accounts(store.database).remove("jane")
    assert institution.get("/api/v1").status_code == 401
    with pytest.raises(NotFound):
        Accounts(store.database).remove("jane")


def test_an_account_without_a_group_does_not_come_in(
    institution: httpx.Client, provider: Provider
) -> None:
    provider.claims["groups"] = ["gardeners"]
    refused = come_and_go(institution)
    assert refused.status_code == 403
    assert "no role here" in refused.text
    assert me(institution) == {"status": 401}


def test_name_and_groups_may_be_told_at_the_userinfo_endpoint_alone(
    institution: httpx.Client, provider: Provider
) -> None:
    """As certified providers do: what a scope asks for is no part of the ID token (Core 5.4)."""
    provider.userinfo, provider.claims = {**provider.claims, "sub": "42"}, {"sub": "42"}
    assert come_and_go(institution).status_code == 303
    assert (me(institution)["name"], me(institution)["role"]) == ("jane", "viewer")


def test_the_userinfo_of_somebody_else_lets_nobody_in(
    institution: httpx.Client, provider: Provider
) -> None:
    provider.userinfo = {"sub": "43", "preferred_username": "jane", "groups": ["it"]}
    provider.claims = {"sub": "42"}
    assert come_and_go(institution).status_code == 403
    assert me(institution) == {"status": 401}


def test_what_the_token_says_goes_before_the_userinfo(
    institution: httpx.Client, provider: Provider
) -> None:
    provider.userinfo = {"sub": "42", "preferred_username": "jane", "groups": ["it"]}
    provider.claims = {"sub": "42", "groups": ["readers"]}
    assert come_and_go(institution).status_code == 303
    assert (me(institution)["name"], me(institution)["role"]) == ("jane", "viewer")


def test_who_signed_out_is_asked_by_the_provider_who_comes_next(
    institution: httpx.Client,
) -> None:
    """A provider signs in silently whom it knows: the next person at a workstation was the last."""
    assert "prompt=" not in institution.get("/login/oidc").headers["location"]
    come_and_go(institution)
    institution.post("/logout", headers=OURS)
    assert "prompt=login" in institution.get("/login/oidc").headers["location"]
    come_and_go(institution)
    assert "prompt=" not in institution.get("/login/oidc").headers["location"]


def test_what_the_provider_refuses_is_said(institution: httpx.Client) -> None:
    left = institution.get("/login/oidc").headers["location"]
    state = httpx.URL(left).params["state"]
    refused = institution.get(
        "/login/oidc/callback", params={"error": "access_denied", "state": state}
    )
    assert refused.status_code == 403
    assert "access_denied" in refused.text
    # What others send us here is not repeated.
    foreign = {"error": "call <b>this</b> number", "state": state}
    assert "number" not in institution.get("/login/oidc/callback", params=foreign).text


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://other.example"},
        {"aud": "another client"},
        {"exp": 1000},
        {"nonce": "of another sign-in"},
    ],
)
def test_a_token_of_the_provider_that_does_not_fit_is_refused(
    institution: httpx.Client, provider: Provider, change: dict[str, object]
) -> None:
    provider.change = change
    assert come_and_go(institution).status_code == 403
    assert me(institution) == {"status": 401}


def test_a_token_with_a_foreign_signature_is_refused_and_a_new_key_is_fetched(
    institution: httpx.Client, provider: Provider
) -> None:
    assert come_and_go(institution).status_code == 303
    institution.cookies.clear()
    provider.signing_key = type(provider.key).generate_key(2048, {"kid": "one"})
    assert come_and_go(institution).status_code == 403
    provider.key = provider.signing_key
    assert come_and_go(institution).status_code == 303


def test_a_sign_in_that_was_not_begun_here_is_refused(institution: httpx.Client) -> None:
    left = institution.get("/login/oidc")
    sent_back = httpx.get(left.headers["location"], trust_env=False).headers["location"]
    institution.cookies.clear()
    assert institution.get(sent_back).status_code == 403
    institution.get("/login/oidc")
    assert institution.get(sent_back).status_code == 403


def test_keys_that_are_not_understood_keep_nobody_out(
    institution: httpx.Client, provider: Provider
) -> None:
    # Providers in health care publish keys of other curves beside the one that signs here.
    provider.further_keys = [
        {"kty": "EC", "crv": "brainpoolP256r1", "kid": "other", "x": "AAAA", "y": "AAAA"},
        {"kty": "RSA", "kid": "broken"},
        {"kty": "AKP", "alg": "ML-DSA-65", "kid": "new", "pub": "AAAA"},
    ]
    assert come_and_go(institution).status_code == 303


def test_a_provider_may_have_a_certificate_of_the_hospitals_own_authority(
    store: Store, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    with oidc_provider(authority.issue("provider")) as provider:
        oidc = {"issuer": provider.address, "client_id": CLIENT, "admins": ["it"]}
        tls = TlsSettings(ca_file=authority.ca_file)
        for settings, status in ((tls, 303), (TlsSettings(), 503)):
            parts = make_parts(store, api={"oidc": oidc})
            parts = replace(parts, settings=parts.settings.model_copy(update={"tls": settings}))
            with serving(parts) as client:
                assert client.get("/login/oidc").status_code == status


def test_a_provider_that_is_away_is_said(store: Store) -> None:
    oidc = {"issuer": "http://127.0.0.1:9", "client_id": CLIENT, "admins": ["it"]}
    with serving(make_parts(store, api={"oidc": oidc})) as client:
        away = client.get("/login/oidc")
    assert away.status_code == 503
    assert "issuer" in away.text
