"""A sender whose studies changed is an alarm and a metric; compared now and then, not always."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from api_builders import make_parts, serving
from builders import later
from prometheus_client.parser import text_string_to_metric_families

from oncopixel_pacs.api_server import shared_state
from oncopixel_pacs.domain import JobState, StudyState
from oncopixel_pacs.metrics.state import StateCollector
from oncopixel_pacs.opening import Store, open_store
from oncopixel_pacs.sender_drift import HOLDS, DriftWatch
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.history import History
from oncopixel_pacs.store.readings import ReadingRow
from oncopixel_pacs.store.tables import InstanceRow, JobRow, StudyRow

FIRST, LATEST = 400, 400


def read_studies(store: Store, sender: str, shift: float) -> None:
    """Read so many studies of a sender; the scores of the latest are moved by `shift`."""
    draw = np.random.default_rng(len(sender))
    logits = np.concatenate([draw.normal(-1, 1, FIRST), draw.normal(-1 + shift, 1, LATEST)])
    scores = 1 / (1 + np.exp(-logits))
    with store.database.write() as session:
        for number, score in enumerate(scores):
            uid = f"2.25.{sum(map(ord, sender))}.{number}"
            at = later(number)
            session.add(
                StudyRow(
                    study_instance_uid=uid,
                    state=StudyState.SETTLED,
                    revision=1,
                    first_received_at=at,
                    last_received_at=at,
                )
            )
            session.flush()
            session.add(
                InstanceRow(
                    sop_instance_uid=f"{uid}.1",
                    study_instance_uid=uid,
                    path=f"instances/{uid}",
                    digest="0" * 64,
                    size_bytes=1,
                    received_at=at,
                    calling_ae_title=sender,
                )
            )
            session.add(
                JobRow(
                    id=f"{sender}-{number}",
                    study_instance_uid=uid,
                    revision=1,
                    models_digest="d" * 64,
                    state=JobState.DONE,
                    created_at=at,
                    probability=float(score),
                )
            )
            session.flush()
            session.add(
                ReadingRow(
                    job_id=f"{sender}-{number}",
                    study_instance_uid=uid,
                    revision=1,
                    models_digest="d" * 64,
                    created_at=at,
                    probability=float(score),
                    sender=sender,
                    views="R CC",
                )
            )


@pytest.fixture(scope="module")
def two_senders(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Give a store with a sender that changed and one that did not."""
    store = open_store(Settings(data_dir=tmp_path_factory.mktemp("drift")))
    read_studies(store, "CHANGED", 1.5)
    read_studies(store, "STEADY1", 0.0)
    return store


class CountedHistory(History):
    """Counts how often it is read."""

    asked = 0

    def studies(self, most: int) -> tuple[object, ...]:  # type: ignore[override]
        self.asked += 1
        return super().studies(most)


def test_a_sender_that_changed_is_an_alarm_and_one_that_did_not_is_none(
    two_senders: Store,
) -> None:
    with serving(make_parts(two_senders)) as client:
        found = client.get("/api/v1/alarms").json()["items"]
        page = client.get("/alarms").text
    said = [item["said"] for item in found if item["subject"] == "models"]
    assert any("Scores of sender CHANGED have drifted" in sentence for sentence in said)
    assert not any("STEADY1" in sentence for sentence in said)
    assert "sender CHANGED have drifted" in page


def test_prometheus_is_told_how_far_each_sender_is_from_its_beginning(
    two_senders: Store, tmp_path: Path
) -> None:
    parts = make_parts(two_senders)
    collector = shared_state(two_senders, parts.settings, parts.algorithms)
    two_senders.meters.registry.register(collector)
    try:
        text = two_senders.meters.exposition().decode()
    finally:
        two_senders.meters.registry.unregister(collector)
    told = {
        (item.labels["sender"], item.labels.get("of", "ks")): item
        for family in text_string_to_metric_families(text)
        if family.name.startswith("oncopixel_drift")
        for item in family.samples
    }
    assert told["CHANGED", "scores"].value >= 0.25 > told["STEADY1", "scores"].value
    assert told["CHANGED", "views"].value == 0
    assert told["CHANGED", "ks"].value > 0.4
    assert {item.labels["model"] for item in told.values()} == {parts.algorithms[0].name}
    assert {name for name, _ in told} == {"*", "CHANGED", "STEADY1"}


def test_it_is_compared_anew_only_after_minutes(two_senders: Store) -> None:
    moment = later(5000)

    def now() -> datetime:
        return moment

    history = CountedHistory(two_senders.database)
    watch = DriftWatch(history, now)
    collector = shared_state(two_senders, Settings(), ())
    assert isinstance(collector, StateCollector)
    collector = replace(collector, drift=watch)
    for _ in range(3):
        list(collector.collect())
    assert history.asked == 1
    moment += HOLDS
    list(collector.collect())
    assert history.asked == 2
    moment -= timedelta(hours=1)  # a clock that was set back
    list(collector.collect())
    assert history.asked == 3
