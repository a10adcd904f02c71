"""What the pages tell a person, read from their HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from api_builders import (
    HEADER,
    JOB,
    REFUSED,
    analyse,
    answer,
    fail,
    finish,
    make_parts,
    queue,
    receive,
    receive_other_content,
    serving,
    write,
)
from builders import STUDY_UID, later
from conftest import Store

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import DeliveryState, ImageResult, JobState, Reason
from oncopixel_pacs.store.outbox import Outbox

JOB_PAGE = f"/jobs/{JOB}"
STUDY_PAGE = f"/studies/{STUDY_UID}"


class Reader(HTMLParser):
    """The text of a page as a person sees it, and the addresses that it names."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.buttons: list[str] = []
        self.tags: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append(dict(attrs).get("src") or "inline")
        self.tags.append(tag)
        named = ("href", "src", "action")
        self.addresses += [value for name, value in attrs if name in named and value]
        if dict(attrs).get("method") == "post":
            self.buttons.append(dict(attrs).get("action") or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def page(store: Store, path: str) -> str:
    with serving(make_parts(store)) as client:
        found = client.get(path, headers={"Accept": "text/html"})
    assert found.status_code == 200, found.text
    return found.text


def refresh_seconds(html: str) -> int | None:
    found = re.search(r'http-equiv="refresh" content="(\d+)"', html)
    return int(found[1]) if found else None


EVERY_PAGE = [
    "/",
    "/studies",
    "/destinations",
    "/jobs",
    JOB_PAGE,
    STUDY_PAGE,
    "/peers",
    "/models",
    "/alarms",
    "/audit",
    "/settings",
    "/users",
    "/webhooks",
    "/password",
    "/docs",
    "/nothing",
]


@pytest.mark.parametrize("path", EVERY_PAGE)
def test_every_page_says_research_use_only_and_loads_nothing_from_elsewhere(
    store: Store, path: str
) -> None:
    finish(store)
    with serving(make_parts(store)) as client:
        html = client.get(path, headers={"Accept": "text/html"}).text
    reader = read(html)
    assert reader.text.count(RESEARCH_NOTICE) >= 2
    assert [item for item in reader.addresses if not item.startswith(("/", "#main"))] == []
    assert [item for item in reader.scripts if not item.startswith("/static/")] == []
    assert "style" not in reader.tags
    assert not re.search(r"\s(style|on\w+)=", html)


def test_every_link_of_the_pages_leads_somewhere(store: Store) -> None:
    finish(store)
    for item in store.ledger.job(JOB).objects:
        file = store.files.absolute(item.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"DICM")
    with serving(make_parts(store)) as client:
        pages = [read(client.get(start).text) for start in EVERY_PAGE]
        paths = {path for page in pages for path in page.addresses}
        for path in paths - {"#main"} - {path for page in pages for path in page.buttons}:
            assert client.get(path).status_code == 200, path
    assert {JOB_PAGE, STUDY_PAGE, "/static/oncopixel.css"} <= paths


def test_an_empty_server_says_how_to_begin(store: Store) -> None:
    assert "No study here yet" in read(page(store, "/studies")).text


def test_a_receiving_study_shows_what_it_waits_for_and_listens(store: Store) -> None:
    receive(store, 2)
    store.catalogue.note_waiting({STUDY_UID: "R MLO, L MLO, until 12:01:00 UTC"})
    for path in ("/studies", STUDY_PAGE):
        html = page(store, path)
        assert "Waits for R MLO, L MLO, until 12:01:00 UTC" in read(html).text
        assert "sse-connect" in html


def test_a_finished_study_stands_in_the_list_with_its_job_and_score(store: Store) -> None:
    finish(store)
    text = read(page(store, "/studies")).text
    assert "EXAMPLE^JANE" in text
    assert "P-0007 · A-1207" in text
    assert "L MLO done 70.0% 4" in text
    assert "R CC, L CC, R MLO, L MLO" in text


def test_the_tallies_count_what_needs_a_look(store: Store) -> None:
    fail(store)
    receive(store, study="1.2.3")
    text = read(page(store, "/")).text
    assert "1 receiving 0 in work 1 failed 0 not analysed 0 done" in text


def test_a_destination_in_trouble_is_told_on_the_first_page(store: Store) -> None:
    receive(store)
    queue(store)
    analyse(store)
    write(store)
    answer(store, DeliveryState.QUEUED, status="", error=REFUSED, next_attempt_at=later(70))
    assert REFUSED in read(page(store, "/")).text
    text = read(page(store, "/studies")).text
    assert "pacs : 2 waiting, 0 failed." in text
    assert REFUSED in text


def test_the_backlog_of_each_destination_and_its_age_are_on_their_page(store: Store) -> None:
    receive(store)
    queue(store)
    analyse(store)
    write(store)
    assert "pacs sending 2 2025-03-01 12:01:04" in read(page(store, "/destinations")).text
    answer(store, DeliveryState.QUEUED, status="", error=REFUSED, next_attempt_at=later(70))
    Outbox(store.database).note_failure(
        "pacs", later(70), REFUSED, opens_after=1, wait_until=lambda _: later(4000)
    )
    text = read(page(store, "/destinations")).text
    assert "pacs not reached since 2025-03-01 12:01:10 2 2025-03-01 12:01:04" in text
    assert f"2025-03-01 13:06:40 {REFUSED}" in text


def test_a_conflict_is_shown_in_the_list_and_explained_in_the_study(store: Store) -> None:
    finish(store)
    receive_other_content(store)
    assert "1 conflict" in read(page(store, "/studies")).text
    assert "with other content" in read(page(store, STUDY_PAGE)).text


def test_a_job_shows_steps_with_times_attempts_and_parts(store: Store) -> None:
    finish(store)
    text = read(page(store, JOB_PAGE)).text
    assert "analyse done 1 2025-03-01 12:01:01 2.00 s decode 0.50 s · classify 1.25 s" in text
    assert "write done 1" in text
    assert "deliver done 1" in text


def test_a_job_shows_findings_with_size_and_place(store: Store) -> None:
    finish(store)
    text = read(page(store, JOB_PAGE)).text
    assert "Lesion 1 R CC 80.0% 14.1 × 10.0 100 row 1000, column 500 of 2294 × 1914" in text
    assert "100 mm from the top, 50 mm from the left" in text
    assert "Right breast 70.0%" in text


def test_a_job_shows_every_object_with_its_delivery(store: Store) -> None:
    finish(store)
    text = read(page(store, JOB_PAGE)).text
    assert f"SEG Research use only {STUDY_UID}.9.1 Segmentation Storage 2.0 KiB" in text
    assert "SR Research use only" in text
    assert "To pacs" in text
    assert text.count("accepted 0x0000 1 attempt, 2025-03-01 12:01:07") == 2


def test_a_delivery_that_is_tried_again_says_why_and_when(store: Store) -> None:
    receive(store)
    queue(store)
    analyse(store)
    write(store)
    answer(store, DeliveryState.QUEUED, status="", error=REFUSED, next_attempt_at=later(70))
    html = page(store, JOB_PAGE)
    text = read(html).text
    assert "Waits for destination pacs" in text
    assert "queued 1 attempt, next 2025-03-01 12:01:10" in text
    assert REFUSED in text
    assert refresh_seconds(html) == 5


def test_a_job_shows_a_picture_of_each_view_and_the_reason_for_none(store: Store) -> None:
    receive(store, 4)
    queue(store)
    analyse(store, skip_last=True)
    reader = read(page(store, JOB_PAGE))
    pictures = [path for path in reader.addresses if path.endswith("overlay.png")]
    assert len(set(pictures)) == 3
    assert f"not-analysed {Reason.NO_VIEW.sentence} Empty sequence." in reader.text


def test_a_job_that_found_nothing_says_so(store: Store) -> None:
    receive(store)
    queue(store)
    analyse(store)
    result = store.ledger.job(JOB).result
    assert result is not None
    clean = tuple(replace(image, findings=(), probability=0.0) for image in result.images)
    store.ledger.save_result(JOB, replace(result, images=clean, probability=0.0))
    write(store, destinations={})
    text = read(page(store, JOB_PAGE)).text
    assert "0.0% · no findings" in text
    assert "The models called no finding." in text
    assert "No destination takes these objects" in text


def test_a_study_of_many_images_shows_those_that_were_read_and_counts_the_others(
    store: Store,
) -> None:
    """As one of volumes, projections, synthetic and acquired images, four each."""
    receive(store, 16)
    queue(store)
    analyse(store)
    result = store.ledger.job(JOB).result
    assert result is not None
    read_of_view = {image.facts.name: image for image in result.images}
    assert set(read_of_view) == {"R CC", "L CC", "R MLO", "L MLO"}
    images = tuple(
        item
        if item is read_of_view[item.facts.name]
        else ImageResult(item.facts, reason=Reason.TOMOSYNTHESIS)
        for item in result.images
    )
    store.ledger.save_result(JOB, replace(result, images=images))
    text = read(page(store, STUDY_PAGE)).text
    assert "Findings 4" in text
    for name in read_of_view:
        assert f"{name} · 14.1 × 10.0 mm" in text
    assert "4 more images are not shown here." in text


def test_a_study_of_which_nothing_was_read_does_not_say_that_nothing_was_found(
    store: Store,
) -> None:
    receive(store)
    queue(store)
    analyse(store, reason=Reason.FOR_PROCESSING)
    for address in (STUDY_PAGE, JOB_PAGE):
        text = read(page(store, address)).text
        assert "No image was analysed." in text
        assert "called no finding" not in text


def test_a_study_that_could_not_be_analysed_says_why(store: Store) -> None:
    receive(store)
    queue(store)
    analyse(store, reason=Reason.UNREADABLE_PIXELS)
    store.ledger.finish(JOB, JobState.NOT_ANALYSED, later(64), "No image could be analysed.")
    for path in (JOB_PAGE, STUDY_PAGE):
        text = read(page(store, path)).text
        assert "No image could be analysed." in text
        assert Reason.UNREADABLE_PIXELS.sentence in text


def test_a_failed_job_offers_a_retry_and_a_finished_one_does_not(store: Store) -> None:
    fail(store, "The process that runs the models crashed.")
    failed = read(page(store, JOB_PAGE))
    assert "The process that runs the models crashed." in failed.text
    assert f"{JOB_PAGE}/retry" in failed.addresses
    store.ledger.finish(JOB, JobState.DONE, later(70))
    html = page(store, JOB_PAGE)
    assert f"{JOB_PAGE}/retry" not in read(html).addresses
    assert refresh_seconds(html) is None


def test_lists_lead_to_what_is_older(store: Store) -> None:
    for number in range(51):
        receive(store, study=f"1.2.3.{number}")
    with serving(make_parts(store)) as client:
        first = read(client.get("/studies?state=receiving").text)
        older = next(path for path in first.addresses if "cursor=" in path)
        second = read(client.get(older).text)
    assert "state=receiving" in older
    assert "/studies/1.2.3.50" in first.addresses
    assert "/studies/1.2.3.0" not in first.addresses
    assert "/studies/1.2.3.0" in second.addresses
    assert not [path for path in second.addresses if "cursor=" in path]


def test_the_list_of_jobs_can_be_narrowed(store: Store) -> None:
    fail(store)
    receive(store, study="1.2.3")
    queue(store, "waiting", study="1.2.3")
    assert {JOB_PAGE, "/jobs/waiting"} <= set(read(page(store, "/jobs")).addresses)
    narrowed = read(page(store, "/jobs?state=failed")).addresses
    assert JOB_PAGE in narrowed
    assert "/jobs/waiting" not in narrowed


def test_health_destinations_and_models_are_shown(store: Store) -> None:
    finish(store)
    assert "database ok takes writes" in read(page(store, "/")).text
    text = read(page(store, "/models")).text
    assert "Test classify active 1.0 classify 0.500" in text
    text = read(page(store, "/destinations")).text
    assert "pacs ARCHIVE@127.0.0.1:104 cstore SEG, SR 0 0 2 0 0" in text
    with serving(make_parts(store, models_ready=lambda: False)) as client:
        assert "models not ready" in read(client.get("/").text).text
        assert "The models are not loaded yet" in read(client.get("/alarms").text).text
        assert "The models are not loaded yet" in read(client.get("/").text).text


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7007*7 }}'


def test_text_from_outside_stays_text_on_every_page(store: Store) -> None:
    header = replace(
        HEADER,
        patient_name=HOSTILE,
        patient_id=HOSTILE,
        description=HOSTILE,
        accession_number=HOSTILE,
        study_date=HOSTILE,
    )
    receive(store, header=header)
    queue(store)
    analyse(store)
    write(store)
    answer(store, DeliveryState.FAILED, status=HOSTILE, error=HOSTILE)
    with serving(make_parts(store)) as client:
        for path in ("/", "/studies", "/jobs", JOB_PAGE, STUDY_PAGE, "/alarms"):
            reader = read(client.get(path).text)
            assert all(item.startswith("/static/") for item in reader.scripts), path
            assert reader.tags.count("img") <= 2, path
            assert "49049" not in reader.text.replace(STUDY_UID, ""), path
        assert HOSTILE in read(client.get("/studies").text).text
