"""What Prometheus reads: true numbers, few series, nobody's name; and who may read it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from api_builders import HEADER, analyse, bearer, fail, finish, make_parts, queue, receive, serving
from builders import STUDY_UID, later, make_algorithm
from certificates import Authority
from dimse_builder import association
from prometheus_client.parser import text_string_to_metric_families
from server_process import free_port, wait_until

from oncopixel_pacs.api.alarms import alarms_by_subject
from oncopixel_pacs.api_server import shared_state
from oncopixel_pacs.bootstrap import Role, Server
from oncopixel_pacs.domain import Reason
from oncopixel_pacs.domain.access import AccessRole, Area
from oncopixel_pacs.errors import ConfigurationError, OutOfResources
from oncopixel_pacs.metrics.catalogue import ALL
from oncopixel_pacs.opening import Store, open_store
from oncopixel_pacs.settings import Settings, load_settings
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.callers import RejectionKind
from tests.document_metrics import PAGE, document

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "oncopixel.json"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Store]:
    """Open a store as the server does: it counts."""
    store = open_store(Settings(data_dir=tmp_path))
    yield store
    store.database.close()


@contextmanager
def told(store: Store, **changes: Any) -> Iterator[httpx.Client]:
    """Serve a store that tells what it counts and how the whole stands."""
    parts = make_parts(store, exposition=store.meters.exposition, **changes)
    now = parts.now
    state = shared_state(store, parts.settings, parts.algorithms, partial(alarms_by_subject, parts))
    collector = replace(state, now=now)
    store.meters.registry.register(collector)
    with serving(parts) as client:
        yield client


def samples_of(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(client: httpx.Client, **headers: str) -> Samples:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples_of(answer.text)


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"oncopixel_{name}", frozenset(labels.items())]


# --- numbers ------------------------------------------------------------------------------------


def test_a_study_is_counted_from_its_images_to_the_answers_of_its_destination(
    counting: Store,
) -> None:
    finish(counting)
    with told(counting) as client:
        found = read(client)
    assert value(found, "instances_received_total", outcome="new") == 4
    assert value(found, "received_bytes_total") > 0
    assert value(found, "step_seconds_sum", step="analyse", outcome="done") == 2
    assert value(found, "step_seconds_count", step="write", outcome="done") == 1
    assert value(found, "step_seconds_sum", step="deliver", outcome="done") == 3
    assert value(found, "jobs_ended_total", state="done") == 1
    assert value(found, "job_seconds_sum") == 7
    assert value(found, "delivery_attempts_total", destination="pacs", outcome="accepted") == 2
    assert value(found, "study_score_count", model=make_algorithm().name) == 1
    assert value(found, "deliveries", destination="pacs", state="accepted") == 2
    assert value(found, "deliveries", destination="pacs", state="failed") == 0
    assert value(found, "jobs", state="done") == 1
    assert value(found, "studies", state="settled") == 1
    assert value(found, "queue_age_seconds") == 0
    assert value(found, "database_up") == 1


def test_what_goes_wrong_is_counted_by_its_reason(counting: Store) -> None:
    fail(counting)
    analyse(counting, reason=Reason.NO_VIEW)
    counting.meters.refuse(OutOfResources("Disk low."))
    counting.meters.refuse(KeyError("PatientName"))
    with told(counting) as client:
        found = read(client)
    assert value(found, "step_seconds_sum", step="analyse", outcome="failed") == 1
    assert value(found, "jobs_ended_total", state="failed") == 1
    assert value(found, "images_not_analysed_total", reason=Reason.NO_VIEW.value) == 1
    assert value(found, "instances_refused_total", reason="out-of-resources") == 1
    assert value(found, "instances_refused_total", reason="unexpected") == 1


def test_what_never_went_wrong_is_counted_as_none_so_that_the_first_is_an_increase(
    counting: Store,
) -> None:
    with told(counting) as client:
        found = read(client)
    for reason in ("out-of-resources", "dataset-mismatch", "cannot-understand", "unexpected"):
        assert value(found, "instances_refused_total", reason=reason) == 0
    for kind in RejectionKind:
        assert value(found, "associations_rejected_total", reason=kind.value) == 0
    for state in ("done", "not-analysed", "failed"):
        assert value(found, "jobs_ended_total", state=state) == 0


def test_the_queue_is_as_old_as_the_study_that_waits_longest(counting: Store) -> None:
    receive(counting)
    queue(counting, at=60)
    with told(counting, now=lambda: later(360)) as client:
        assert value(read(client), "queue_age_seconds") == 300
        # Nobody knows since when one waits that a person queued again.
        counting.ledger.restart(counting.ledger.jobs().items[0].id, lambda *_: None)
        assert value(read(client), "queue_age_seconds") == 0


def test_certificates_tell_when_they_expire(counting: Store, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    leaf, of_http = authority.issue("server"), authority.issue("pages")
    unreadable = of_http.certificate
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path,
            "api": {"certificate": of_http.certificate, "key": of_http.key},
            "tls": {
                "certificate": leaf.certificate,
                "key": leaf.key,
                "ca_file": authority.ca_file,
            },
        }
    )
    counting.meters.registry.register(shared_state(counting, settings, ()))
    found = samples_of(counting.meters.exposition().decode())
    assert value(found, "certificate_expiry_timestamp_seconds", use="dicom") > 1.7e9
    assert value(found, "certificate_expiry_timestamp_seconds", use="http") > 1.7e9
    unreadable.write_text("no certificate", encoding="utf-8")
    found = samples_of(counting.meters.exposition().decode())
    assert value(found, "certificate_expiry_timestamp_seconds", use="dicom") > 1.7e9
    name = "oncopixel_certificate_expiry_timestamp_seconds"
    assert (name, frozenset({("use", "http")})) not in found


def test_alarms_of_the_pages_are_told(counting: Store) -> None:
    receive(counting)
    with told(counting) as client:
        assert value(read(client), "alarms", subject="jobs") == 0
        fail(counting)
        assert value(read(client), "alarms", subject="jobs") == 1


def test_without_the_database_the_rest_is_told(counting: Store) -> None:
    with told(counting) as client:
        with counting.database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE job RENAME TO elsewhere")
        found = read(client)
    assert value(found, "database_up") == 0
    assert value(found, "disk_free_bytes") > 0
    assert ("oncopixel_jobs", frozenset({("state", "done")})) not in found


# --- names --------------------------------------------------------------------------------------


def test_no_metric_tells_of_a_patient_or_a_study_and_series_do_not_grow(counting: Store) -> None:
    finish(counting)
    before = counting.meters.exposition().decode()
    for number in range(20, 25):
        receive(counting, study=f"1.2.826.{number}", header=HEADER)
    after = counting.meters.exposition().decode()
    for secret in (STUDY_UID, "1.2.826", HEADER.patient_id, "EXAMPLE", HEADER.accession_number):
        assert secret not in after
    assert len(samples_of(after)) == len(samples_of(before))


def test_every_metric_is_in_the_reference_and_nothing_else_is(counting: Store) -> None:
    counting.meters.watch_senders(lambda: 0)
    counting.meters.watch_models(lambda: True)
    counting.meters.registry.register(shared_state(counting, Settings(), ()))
    exported = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in counting.meters.registry.collect()
        if family.name.startswith("oncopixel_")
    }
    assert exported == {item.name for item in ALL}
    assert PAGE.read_text(encoding="utf-8") == document(), "run `python -m tests.document_metrics`"


# --- who may read -------------------------------------------------------------------------------


def test_a_token_of_the_area_reads_and_nobody_else_does(counting: Store) -> None:
    tokens = ApiTokens(counting.database)
    reads = tokens.create("prometheus", AccessRole.VIEWER, (Area.METRICS,), later(0), later(9999))
    other = tokens.create("viewer", AccessRole.VIEWER, (Area.DICOMWEB,), later(0), later(9999))
    with told(counting) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=bearer(other[1])).status_code == 403
        assert read(client, **bearer(reads[1]))
        assert client.get("/api/v1/jobs", headers=bearer(reads[1])).status_code == 403


@pytest.mark.parametrize(("network", "status"), [("127.0.0.0/8", 200), ("10.0.0.0/8", 401)])
def test_a_trusted_network_reads_without_a_token(
    counting: Store, network: str, status: int
) -> None:
    parts = make_parts(counting, tokens=["a" * 16])
    settings = Settings.model_validate(
        {**parts.settings.model_dump(), "metrics": {"networks": [network]}}
    )
    with told(counting, settings=settings) as client:
        assert client.get("/metrics").status_code == status
        assert client.post("/metrics").status_code == 401
        assert client.get("/api/v1/jobs").status_code == 401


def test_an_address_that_others_reach_needs_a_certificate_or_networks() -> None:
    with pytest.raises(ConfigurationError, match="reachable from other machines"):
        load_settings(metrics={"host": "0.0.0.0"})  # noqa: S104
    assert load_settings(metrics={"host": "0.0.0.0", "networks": ["10.0.0.0/8"]})  # noqa: S104


# --- a process with one role --------------------------------------------------------------------


def test_a_process_that_only_receives_tells_what_it_counts(tmp_path: Path) -> None:
    settings = load_settings(
        data_dir=tmp_path, dimse_port=0, metrics={"port": 0}, ae_title="ONCOPIXEL"
    )
    server = Server(settings, (Role.RECEIVE,))
    addresses = server.start()
    assert addresses.http_port is None
    assert addresses.dimse_port is not None
    url = f"http://127.0.0.1:{addresses.metrics_port}"
    try:
        with httpx.Client(base_url=url, trust_env=False) as client:
            with association(addresses.dimse_port) as open_one:
                assert open_one.is_established
                wait_until(lambda: value(read(client), "senders_connected") == 1, 15, "connected")
            with association(addresses.dimse_port, called="ELSEWHERE") as rejected:
                assert not rejected.is_established
            key = "oncopixel_associations_rejected_total", frozenset({("reason", "called")})
            wait_until(lambda: read(client).get(key) == 1, 15, "rejection counted")
            found = read(client)
            # How the whole stands, the API tells; nothing else is served here.
            assert ("oncopixel_database_up", frozenset()) not in found
            assert client.get("/api/v1").status_code == 404
    finally:
        server.stop()


# --- Prometheus ---------------------------------------------------------------------------------


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install prometheus)")
    return found


def check(*command: str | Path, given: str = "") -> None:
    done = subprocess.run(
        [str(part) for part in command], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    return [expression.replace("$__rate_interval", "1m") for expression in asked]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_dashboard_and_alerts_speak_of_metrics_that_are_there() -> None:
    known = {item.name for item in ALL}
    known |= {f"{item.name}_{end}" for item in ALL for end in ("bucket", "sum", "count")}
    asked = " ".join([*expressions(), *(rule["expr"] for rule in rules())])
    assert set(re.findall(r"oncopixel_\w+", asked)) <= known


#: What makes each alert fire, and what keeps it quiet, each minute for half a day.
ALERTING = {
    "OncoPixelDown": ("up{job='oncopixel'}", 0, 1),
    "OncoPixelDatabaseDown": ("oncopixel_database_up", 0, 1),
    "OncoPixelDiskLow": ("oncopixel_disk_free_bytes", 5, 50),
    "OncoPixelDiskFillsUp": ("oncopixel_disk_free_bytes", "1000000-1000x720", 50),
    "OncoPixelQueueOld": ("oncopixel_queue_age_seconds", 1000, 0),
    "OncoPixelModelsNotReady": ("oncopixel_models_ready", 0, 1),
    "OncoPixelJobsFail": ("oncopixel_jobs_ended_total{state='failed'}", "0+1x720", 1),
    "OncoPixelDestinationRests": ("oncopixel_destination_resting{destination='pacs'}", 1, 0),
    "OncoPixelBacklogOld": ("oncopixel_delivery_backlog_age_seconds{destination='pacs'}", 4000, 9),
    "OncoPixelResultsUnconfirmed": ("oncopixel_results_unconfirmed{destination='pacs'}", 1, 0),
    "OncoPixelResultsQuarantined": ("oncopixel_results_quarantined", 1, 0),
    "OncoPixelBackupOld": ("oncopixel_backup_timestamp_seconds", -300_000, 0),
    "OncoPixelObjectsRefused": (
        "oncopixel_instances_refused_total{reason='unexpected'}",
        "0+1x720",
        1,
    ),
    "OncoPixelSendersRejected": (
        "oncopixel_associations_rejected_total{reason='unknown'}",
        "0+1x720",
        1,
    ),
    "OncoPixelDrift": (
        "oncopixel_drift_psi{sender='MAMMO1',of='scores'}",
        "0.3+0x720",
        "0.2+0x720",
    ),
    "OncoPixelCertificateExpires": (
        "oncopixel_certificate_expiry_timestamp_seconds{use='dicom'}",
        90000,
        9999999,
    ),
    "OncoPixelAlarm": ("oncopixel_alarms{subject='ris'}", 1, 0),
}


def test_each_alert_fires_and_stays_quiet(tmp_path: Path) -> None:
    promtool = tool("promtool")
    assert {rule["alert"] for rule in rules()} == set(ALERTING)
    tests = []
    for alert, (series, bad, good) in ALERTING.items():
        for number, fires in ((bad, True), (good, False)):
            values = number if isinstance(number, str) else f"{number}+0x720"
            count = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [
                        {"series": series, "values": values},
                        {"series": "oncopixel_disk_watermark_bytes", "values": "10+0x720"},
                    ],
                    "promql_expr_test": [
                        {
                            "expr": count,
                            "eval_time": "12h",
                            "exp_samples": [{"labels": "{}", "value": int(fires)}],
                        }
                    ],
                }
            )
    file = tmp_path / "alerts.test.yml"
    # Every fifth minute of the twelve hours will do: no rule looks back at less than a quarter.
    asked = {"rule_files": [str(ALERTS)], "evaluation_interval": "5m", "tests": tests}
    file.write_text(yaml.safe_dump(asked), "utf-8")
    check(promtool, "test", "rules", file)


def test_a_prometheus_reads_the_server_and_answers_the_dashboard(
    counting: Store, tmp_path: Path
) -> None:
    promtool, prometheus = tool("promtool"), tool("prometheus")
    finish(counting)
    token = ApiTokens(counting.database).create(
        "prometheus", AccessRole.VIEWER, (Area.METRICS,), later(0), later(9999)
    )[1]
    (tmp_path / "token").write_text(token, encoding="utf-8")
    with told(counting) as client:
        check(
            promtool,
            *("check", "metrics"),
            given=client.get("/metrics", headers=bearer(token)).text,
        )
        shipped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))
        job = shipped["scrape_configs"][0]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{client.base_url.port}"]}]
        job["scheme"], job["scrape_interval"] = "http", "1s"
        job["authorization"]["credentials_file"] = str(tmp_path / "token")
        config = {"rule_files": [str(ALERTS)], "scrape_configs": [job]}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        address = f"127.0.0.1:{free_port()}"
        with (tmp_path / "log").open("wb") as log:
            running = subprocess.Popen(
                [
                    prometheus,
                    f"--config.file={tmp_path / 'prometheus.yml'}",
                    f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                    f"--web.listen-address={address}",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            with httpx.Client(base_url=f"http://{address}/api/v1", trust_env=False) as asking:
                wait_until(lambda: answer(asking, "oncopixel_jobs") != [], 60, "scraped")
                for expression in expressions():
                    assert answer(asking, expression) is not None, expression
                up = answer(asking, 'up{job="oncopixel"}')
                assert up is not None
                assert [item["value"][1] for item in up] == ["1"]
                groups = asking.get("/rules").json()["data"]["groups"]
                assert len(groups[0]["rules"]) == len(rules())
        finally:
            running.terminate()
            running.wait(timeout=30)


def answer(client: httpx.Client, expression: str) -> list[dict[str, Any]] | None:
    try:
        said = client.get("/query", params={"query": expression})
    except httpx.TransportError:
        return []
    if said.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # it is starting
        return []
    found = said.json()
    return found["data"]["result"] if found["status"] == "success" else None
