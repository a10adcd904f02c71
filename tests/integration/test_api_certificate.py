"""Our TLS certificate runs out: said in time, on every page and to supervisors."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from api_builders import make_parts, serving
from certificates import Authority
from conftest import Store as Shelf
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings import Settings, TlsSettings
from oncopixel_pacs.tls import OwnCertificate, RenewingContext, certificate_alarm

EXPIRES = datetime(2026, 6, 30, 12, tzinfo=UTC)
OURS = OwnCertificate("CN=ours", EXPIRES, "ab" * 32)


@pytest.mark.parametrize(
    ("left", "alarm"),
    [
        (timedelta(days=31), ""),
        (timedelta(days=30), "expires on 2026-06-30, in 30 days; renew"),
        (timedelta(days=1, hours=1), "expires on 2026-06-30, in 1 day; renew"),
        (timedelta(hours=1), "expires on 2026-06-30, in 0 days; renew"),
        (timedelta(0), "expired on 2026-06-30: peers refuse it"),
        (timedelta(days=-400), "expired on 2026-06-30: peers refuse it"),
    ],
)
def test_the_alarm_begins_thirty_days_before(left: timedelta, alarm: str) -> None:
    found = OURS.alarm(EXPIRES - left)
    assert alarm in found
    assert bool(found) is bool(alarm)


@pytest.mark.parametrize(
    ("days", "ready", "words", "alarming"),
    [
        (365, 200, "CN=ours, valid until", False),
        (10, 200, "The TLS certificate expires on", True),
        (-1, 503, "The TLS certificate expired on", True),
    ],
)
def test_readiness_and_pages_say_how_long_it_lasts(
    store: Shelf, tmp_path: Path, days: int, ready: int, words: str, alarming: bool
) -> None:
    authority = Authority(tmp_path)
    ours = authority.issue("ours", valid=timedelta(days=days))
    settings = tls_settings(store, authority, ours.certificate, ours.key)
    parts = make_parts(store, settings=settings, now=lambda: datetime.now(UTC))
    with serving(parts) as client:
        answer = client.get("/health/ready")
        assert answer.status_code == ready
        (check,) = [item for item in answer.json()["checks"] if item["name"] == "certificate"]
        assert check["ok"] is (ready == 200)
        assert check["detail"].startswith(words)
        for path in ("/", "/jobs", "/settings"):
            assert ('role="alert">The TLS certificate' in client.get(path).text) is alarming
        assert "DICOM over TLS" in client.get("/settings").text
        ours.certificate.unlink()
        assert client.get("/health/ready").status_code == 503
        assert "cannot be read" in client.get("/").text


@pytest.mark.parametrize(("days", "verb"), [(31, ""), (10, "expires"), (-1, "expired")])
def test_a_chain_or_an_authority_that_ends_first_is_an_alarm_until_it_is_renewed(
    tmp_path: Path, days: int, verb: str
) -> None:
    now = datetime.now(UTC) + timedelta(seconds=5)
    ours = Authority(tmp_path / "root").issue("ours")
    between = Authority(tmp_path / "old", "between", valid=timedelta(days=days, hours=1))
    renewed = Authority(tmp_path / "new", "between")
    chain, old, new = (
        item.read_bytes() for item in (ours.certificate, between.ca_file, renewed.ca_file)
    )
    shown = TlsSettings(certificate=ours.certificate, key=ours.key, require_peer_certificate=False)
    trusting = TlsSettings(ca_file=between.ca_file)
    ours.certificate.write_bytes(chain + old)
    said = {
        "in the chain of the TLS certificate": certificate_alarm(shown, now),
        "in the chain of the HTTPS certificate": certificate_alarm(shown, now, "api"),
        "in [tls] ca_file": certificate_alarm(trusting, now),
    }
    for place, words in said.items():
        assert bool(words) is bool(verb)
        assert not verb or words.startswith(f"The certificate CN=between {verb} on ")
        assert not verb or place in words
    ours.certificate.write_bytes(chain + new)
    between.ca_file.write_bytes(old + new)
    assert certificate_alarm(shown, now) == certificate_alarm(trusting, now) == ""


def test_without_tls_there_is_no_such_check(store: Shelf) -> None:
    with serving(make_parts(store)) as client:
        names = [item["name"] for item in client.get("/health/ready").json()["checks"]]
        assert "certificate" not in names
        assert "DICOM over TLS" not in client.get("/settings").text


def tls_settings(store: Shelf, authority: Authority, certificate: Path, key: Path) -> Settings:
    tls = {"certificate": certificate, "key": key, "ca_file": authority.ca_file}
    return Settings.model_validate({"data_dir": store.files.data_dir, "tls": tls})


@pytest.mark.parametrize(("days", "words"), [(365, ""), (10, "expires on"), (-1, "expired on")])
def test_pages_say_how_long_the_certificate_of_https_lasts(
    store: Shelf, tmp_path: Path, days: int, words: str
) -> None:
    own = Authority(tmp_path).issue("own", valid=timedelta(days=days))
    api = {"certificate": own.certificate, "key": own.key}
    parts = make_parts(store, api=api, now=lambda: datetime.now(UTC))
    with serving(parts) as client:
        said = [item["said"] for item in client.get("/api/v1/alarms").json()["items"]]
        page = client.get("/").text
        # Who asks has come in: whether it is shown by a proxy is not ours to judge.
        assert client.get("/health/ready").status_code == 200
    told = [line for line in said if f"The HTTPS certificate {words}" in line]
    assert bool(told) is bool(words)
    assert all("of [api] certificate and key" in line and line in page for line in told)


@pytest.mark.parametrize("table", ["tls", "api"])
def test_half_a_renewal_is_an_alarm_until_the_pair_is_whole(
    store: Shelf, tmp_path: Path, table: str
) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("shown", valid=timedelta(days=10))
    renewed = authority.issue("renewed", valid=timedelta(days=365))
    of_dicom = {"ca_file": authority.ca_file} if table == "tls" else {}
    pair = {"certificate": shown.certificate, "key": shown.key, **of_dicom}
    settings = Settings.model_validate({"data_dir": store.files.data_dir, table: pair})
    parts = make_parts(store, settings=settings, now=lambda: datetime.now(UTC))
    with serving(parts) as client:

        def said() -> str:
            items = client.get("/api/v1/alarms").json()["items"]
            return " ".join(item["said"] for item in items if f"[{table}]" in item["said"])

        assert "in 9 days" in said()
        shutil.copy(renewed.certificate, shown.certificate)
        assert "does not belong to the certificate" in said()
        assert "shows the certificate of before" in said()
        assert client.get("/health/ready").status_code == 200
        shutil.copy(renewed.key, shown.key)
        assert said() == ""


def test_a_key_that_is_given_to_us_later_is_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, renewed = authority.issue("own"), authority.issue("renewed")
    context = RenewingContext(
        TlsSettings(certificate=own.certificate, key=own.key, require_peer_certificate=False)
    )
    earlier = context.current()
    shutil.copy(renewed.certificate, own.certificate)
    times = own.key.stat()
    with pytest.raises(ConfigurationError, match="does not belong"):
        context.current()
    # As after chown or chmod, name and time of the last change stay.
    shutil.copy(renewed.key, own.key)
    os.utime(own.key, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert context.current() is not earlier


def test_the_doctor_looks_at_that_of_https(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("good")
    authority.issue("bad", valid=timedelta(days=-2))
    for name, words in (("good", "CN=good, valid until"), ("bad", "HTTPS certificate expired on")):
        config = tmp_path / f"{name}.toml"
        config.write_text(
            'data_dir = "data"\ndimse_port = 0\nhttp_port = 0\n'
            f'[api]\ncertificate = "{name}.crt"\nkey = "{name}.key"\n'
            "[receive]\nleast_free_bytes = 0\n"
        )
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["doctor", "--config", str(config)])
        assert words in done.output


def test_the_doctor_looks_at_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("good")
    authority.issue("bad", valid=timedelta(days=-2))
    for name, words in (("good", "CN=good, valid until"), ("bad", "expired on")):
        config = tmp_path / f"{name}.toml"
        config.write_text(
            f'data_dir = "data"\ndimse_port = 0\nhttp_port = 0\n'
            f'[tls]\ncertificate = "{name}.crt"\nkey = "{name}.key"\n'
            f'ca_file = "authority.pem"\nport = 0\n[receive]\nleast_free_bytes = 0\n'
        )
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["doctor", "--config", str(config)])
        assert words in done.output
