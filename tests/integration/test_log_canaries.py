"""No log holds a name or a data set: canaries go every way in and out, and errors are provoked."""

from __future__ import annotations

import io
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from answering_server import http_server
from api_builders import JOB, basic, bearer, make_parts, receive, serving
from conftest import Store
from dimse_builder import association
from header_builders import set_raw
from hostile_builder import PIXEL_BOMBS
from mammogram_builder import SCREENING, write_mammogram
from nasty_files import c_store, open_file
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, StoragePresentationContexts, evt
from server_process import ServerProcess, wait_until
from stow_builder import RELATED, body_of
from upload_builders import archive, png
from workflow_builder import PretendedModel, Works, folder_destination, running

from oncopixel_pacs.domain import JobState, StudyHeader
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.logs import configure_logging
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.workflow import analysis as analysis_module
from oncopixel_pacs.workflow import delivery as delivery_module

CANARY = re.compile(r"CANARY|19010203", re.IGNORECASE)
BORN = "19010203"
MARKED = {
    "PatientName": "CANARYFAMILY^CANARYGIVEN",
    "PatientID": "CANARYID",
    "PatientBirthDate": BORN,
    "PatientAddress": "CANARYSTREET",
    "PatientComments": "CANARYCOMMENT",
    "AccessionNumber": "CANARYACCESSION",
    "ReferringPhysicianName": "CANARYDOCTOR",
    "InstitutionName": "CANARYHOSPITAL",
    "StudyDescription": "CANARYSTUDY",
    "SeriesDescription": "CANARYSERIES",
    "ImageComments": "CANARYIMAGE",
    "OperatorsName": "CANARYOPERATOR",
}
FROM_A_PROGRAM = {"X-Requested-With": "test"}
GOOD, UNREADABLE, HOSTILE, UPLOADED = "2.25.7001", "2.25.7002", "2.25.7003", "2.25.7004"


def canaries_in(text: str) -> list[str]:
    """Lines that hold one."""
    return [line for line in text.splitlines() if CANARY.search(line)]


# --- images -------------------------------------------------------------------------------------


def marked(
    folder: Path, study: str, number: int = 0, change: Callable[[Dataset], None] | None = None
) -> Path:
    """Write a view whose every descriptive attribute is a canary, under a canary's name."""
    folder.mkdir(parents=True, exist_ok=True)
    view = SCREENING[number]
    with dcmread(write_mammogram(folder, view)) as image:
        image.StudyInstanceUID, image.SeriesInstanceUID = study, f"{study}.1"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{study}.1.{number}"
        for keyword, value in MARKED.items():
            setattr(image, keyword, value)
        if change is not None:
            change(image)
        path = folder / f"CANARYFILE-{study}-{number}.dcm"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.save_as(path)
    return path


def hostile(image: Dataset) -> None:
    """Put what no attribute of its kind may hold into every kind of attribute."""
    for keyword, value in {
        "PatientBirthDate": b"CANARYDATE",
        "StudyTime": b"CANARYTIME",
        "PatientAge": b"CANARYAGE",
        "PatientSex": b"canary sex",
        "InstanceNumber": b"CANARYNUMBER",
        "WindowCenter": b"CANARYWINDOW",
        "PatientName": b"CANARY" * 40,
        "PatientID": b"CANARY\xff\xfe\\CANARY",
        "SpecificCharacterSet": b"CANARY_IR 999",
        "Manufacturer": b"CANARY\x1b$)C\xff" * 9,
    }.items():
        set_raw(image, keyword, value)


def refused(image: Dataset) -> None:
    """Give a series no UID."""
    set_raw(image, "SeriesInstanceUID", b"CANARY.SERIES.UID")


# --- destinations and sources that quote what they were sent --------------------------------------


@contextmanager
def quoting_pacs() -> Iterator[int]:
    """Refuse every object with a comment that names the patient."""

    def refuse(event: evt.Event) -> Dataset:
        answer = Dataset()
        answer.Status, answer.ErrorComment = 0xA900, "CANARYFAMILY of CANARYHOSPITAL is unknown"
        return answer

    entity = AE("QUOTING")
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    for context in StoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), syntaxes)
    entity.add_supported_context("1.2.840.10008.1.1", syntaxes)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, refuse)]
    )
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


TOLD = b'{"Message": "CANARYFAMILY is not known", "Details": "CANARYID"}'
ANSWERS = {
    "/orthanc/instances": (400, TOLD),
    "/orthanc/system": (500, TOLD),
    "/orthanc/tools/lookup": (500, TOLD),
    "/orthanc/tools/find": (400, TOLD),
    "/stow/studies": (409, TOLD),
    "/hook": (500, TOLD),
    "/taking": (204, b""),
}


class _Answers(dict[str, tuple[int, bytes]]):
    def __missing__(self, path: str) -> tuple[int, bytes]:
        return next((a for known, a in self.items() if path.startswith(known)), (500, TOLD))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("heard")
    (folder / "a-file").write_text("", encoding="utf-8")
    with quoting_pacs() as port, http_server(_Answers(ANSWERS)) as url:
        secret = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
        places = f"""
[[destinations]]
name = "out"
type = "folder"
path = "out"
[[destinations]]
name = "no-folder"
type = "folder"
path = "a-file/out"
[[destinations]]
name = "quoting"
type = "cstore"
host = "127.0.0.1"
port = {port}
ae_title = "QUOTING"
[[destinations]]
name = "orthanc"
type = "orthanc"
url = "{url}/orthanc"
[[destinations]]
name = "stow"
type = "stow"
url = "{url}/stow"
[[sources]]
name = "source"
type = "orthanc"
url = "{url}/orthanc"
"""
        for name, path in (("quoting", "hook"), ("taking", "taking")):
            places += f"""
[[webhooks]]
name = "{name}"
url = "{url}/{path}"
secret = "{secret}"
networks = ["127.0.0.0/8"]
"""
        found = ServerProcess(
            folder,
            completion="settle_seconds = 0.1\nquiet_seconds = 3",
            destinations=places,
            extra='log_level = "debug"',
        )
        found.start()
        try:
            yield found
        finally:
            found.stop()


def send_by_dimse(server: ServerProcess, files: list[Path]) -> list[str]:
    return [c_store(server.dimse_port, open_file(path, "sent")) for path in files]


def send_by_http(server: ServerProcess, folder: Path) -> None:
    """Store, upload, search and err over HTTP."""
    good = marked(folder, UPLOADED).read_bytes()
    bad = marked(folder, HOSTILE, 1, refused).read_bytes()
    with httpx.Client(base_url=server.url, headers=FROM_A_PROGRAM, timeout=30) as client:
        stow = {"Content-Type": RELATED}
        for content in (body_of([good, bad, good[:900], b"CANARY"]), body_of([good])[:-40]):
            client.post("/dicom-web/studies", content=content, headers=stow)
        packed = archive({"CANARY/CANARYENTRY.dcm": good, "CANARYTEXT.txt": b"CANARY"})
        for name, content in (
            ("CANARYFILE.dcm", good),
            ("CANARYFILE.zip", packed),
            ("CANARYFILE.zip", packed[:-30]),
            ("CANARYFILE.dcm", good[:900]),
            ("CANARYFILE.png", png()),
            ("CANARYFILE.png", png()[:200]),
            ("CANARYFILE.txt", b"CANARY"),
        ):
            said = {"laterality": "L", "view": "CC", "pixel_spacing_mm": "0.25"}
            client.post("/api/v1/images", files={"file": (name, content)}, data=said)
        for path in (
            "/dicom-web/studies?PatientName=CANARYFAMILY*&PatientBirthDate=19010203",
            "/dicom-web/studies?CANARYKEYWORD=1&limit=CANARY",
            "/dicom-web/studies/CANARY/series",
            "/studies?q=CANARYFAMILY",
            "/api/v1/studies?patient_id=CANARYID&accession_number=CANARYACCESSION",
            "/api/v1/studies?limit=CANARY&state=CANARY",
            "/api/v1/jobs/CANARYFAMILY",
            "/api/v1/studies/CANARYFAMILY",
            "/CANARYFAMILY",
            f"/studies/{GOOD}",
            f"/dicom-web/studies/{GOOD}/metadata",
        ):
            client.get(path, headers={"Cookie": "CANARY=CANARY", "User-Agent": "CANARY"})
        client.post("/api/v1/studies", content=b'{"study_instance_uid": "CANARY')
        client.post("/api/v1/studies", json={"study_instance_uid": "CANARY", "source": "CANARY"})
        client.post("/api/v1/studies", json={"study_instance_uid": GOOD, "source": "source"})
        client.post("/login", data={"name": "CANARYUSER", "password": "CANARYPASSWORD"})
        client.get("/api/v1/jobs", headers=bearer("CANARYTOKEN"))
        client.get("/api/v1/jobs", headers=basic("CANARYPASSWORD", "CANARYUSER"))
        for name in ("out", "no-folder", "quoting", "orthanc", "stow"):
            client.post(f"/api/v1/destinations/{name}/echo")
            client.post(f"/api/v1/destinations/{name}/test")


def names_below(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if CANARY.search(path.name)]


def deliveries_ended(server: ServerProcess) -> bool:
    """Whether each destination has answered at least once, or never will."""
    (job,) = server.jobs_of(GOOD)
    said = {d["destination"]: d for item in job["objects"] for d in item["deliveries"]}
    return len(said) == 5 and all(d["attempts"] > 0 for d in said.values())


def test_what_goes_through_a_server_is_not_in_its_log_metrics_and_names(
    server: ServerProcess, tmp_path: Path
) -> None:
    good = [marked(tmp_path, GOOD, number) for number in range(2)]
    whole = good[0].read_bytes()
    cut = tmp_path / "CANARYCUT.dcm"
    cut.write_bytes(whole[:-5000])
    bomb = marked(tmp_path, UNREADABLE, 2, PIXEL_BOMBS["RLE of 512 MB in a small image"])
    odd = marked(tmp_path, HOSTILE, 3, hostile)
    no_uid = marked(tmp_path, HOSTILE, 0, refused)
    answers = send_by_dimse(server, [*good, cut, bomb, odd, no_uid])
    assert answers[0] == "0x0000"
    assert answers[5] != "0x0000"
    with association(server.dimse_port, called="NOBODY") as refused_one:
        assert not refused_one.is_established
    send_by_http(server, tmp_path)
    assert server.finished_job(UNREADABLE)["state"] == "not-analysed"
    wait_until(lambda: server.jobs_of(GOOD), 90, "no job")
    wait_until(lambda: deliveries_ended(server), 120, "the destinations were not tried")
    for event in ("intake.stored", "intake.refused", "delivery.failed", "webhook.failed", "pull."):
        wait_until(lambda event=event: event in server.log, 90, f"{event} is not in the log")  # type: ignore[misc]
    metrics = httpx.get(f"{server.url}/metrics", timeout=10).text
    assert "oncopixel_" in metrics
    assert canaries_in(server.log) == []
    assert canaries_in(metrics) == []
    assert names_below(server.folder) == []


# --- defects ------------------------------------------------------------------------------------


@pytest.fixture
def heard() -> Iterator[io.StringIO]:
    """Listen to what a process would write to its log."""
    names = ("", "oncopixel_pacs", "training", "sample_dicom", "pydicom", "pynetdicom", "highdicom")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.level, logger.handlers) for logger in loggers]
    stream = io.StringIO()
    configure_logging("debug", "json", stream)
    try:
        yield stream
    finally:
        structlog.reset_defaults()
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers = handlers


class Quoting(Exception):
    """What a library may raise: its text, its cause and its notes quote a header."""

    def __init__(self) -> None:
        super().__init__("invalid literal for int(): 'CANARYID'")
        self.__cause__ = KeyError("CANARYFAMILY^CANARYGIVEN")
        self.add_note("CANARYNOTE")


@pytest.fixture
def works(store: Store, tmp_path: Path, heard: io.StringIO) -> Iterator[Works]:
    built = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    with running(built):
        built.receive(tmp_path / "in", **MARKED)
        yield built


def raises(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("module", "name", "error", "event"),
    [
        (analysis_module, "build_result_objects", Quoting(), "job.defect"),
        (analysis_module, "build_result_objects", ResultRejected("PN <CANARY>"), "job.failed"),
        (delivery_module, "send", Quoting(), "delivery.defect"),
    ],
    ids=["writing", "gate", "delivery"],
)
def test_a_step_that_fails_quotes_nothing(
    works: Works,
    heard: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    error: Exception,
    event: str,
) -> None:
    monkeypatch.setattr(module, name, raises(error))
    assert works.finished(works.settle().id).state is not JobState.DONE
    assert event in heard.getvalue()
    assert canaries_in(heard.getvalue()) == []


def test_an_analysis_that_crashes_leaves_types_and_places(works: Works, heard: io.StringIO) -> None:
    works.model.failures = [Quoting()]
    assert works.finished(works.settle().id).state is JobState.FAILED
    assert "Quoting" in heard.getvalue()
    assert "workflow_builder.py" in heard.getvalue()
    assert canaries_in(heard.getvalue()) == []


def test_pages_and_api_that_fail_quote_nothing(
    store: Store, heard: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(store, header=StudyHeader("CANARY^A", "CANARYID", "CANARY", "CANARY", BORN))
    monkeypatch.setattr(Ledger, "job", raises(Quoting()))
    monkeypatch.setattr(Ledger, "jobs", raises(Quoting()))
    parts = make_parts(store, tokens=["letmein-by-token"])
    with serving(parts) as client:
        for path in ("/api/v1/studies?q=CANARY", f"/api/v1/jobs/{JOB}CANARY", "/studies?q=CANARY"):
            for who in ({}, bearer("letmein-by-token"), bearer("CANARY")):
                client.get(path, headers=who)
        client.post("/api/v1/users/CANARY", headers=bearer("letmein-by-token"))
        statuses = [
            client.get(f"/api/v1/jobs/{JOB}", headers=bearer("letmein-by-token")).status_code
        ]
    assert statuses == [500]
    assert "http.failed" in heard.getvalue()
    assert canaries_in(heard.getvalue()) == []


def test_libraries_warnings_and_threads_are_told_by_type_and_place(heard: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning("value CANARY", UserWarning, "valuerep.py", 7)
    for library in ("sqlalchemy.pool", "dbos", "asyncio", "pynetdicom.dsutils", "pydicom"):
        logger = logging.getLogger(library)
        logger.error("could not decode %s", "CANARY")
        logger.error(f"could not decode {'CANARY'}", exc_info=Quoting())
    thread = threading.Thread(target=raises(Quoting()), name="receiving")
    thread.start()
    thread.join()
    sys.excepthook(Quoting, Quoting(), None)
    structlog.get_logger("oncopixel_pacs.any").error("many", exc_info=group())
    text = heard.getvalue()
    for told in ("UserWarning", "valuerep.py:7", "library.said", "thread.ended", "process.ended"):
        assert told in text
    assert "test_log_canaries.py" in text
    assert canaries_in(text) == []


def group() -> ExceptionGroup[Exception]:
    return ExceptionGroup("CANARY", [Quoting(), ValueError("CANARY")])


def test_a_log_that_leaks_is_found(heard: io.StringIO) -> None:
    structlog.get_logger("oncopixel_pacs.any").info("intake.stored", name="CANARYFAMILY")
    assert len(canaries_in(heard.getvalue())) == 1
    structlog.get_logger("oncopixel_pacs.any").info("intake.stored", born=BORN)
    assert len(canaries_in(heard.getvalue())) == 2


def test_no_event_is_given_the_text_of_an_exception() -> None:
    """`for_log` knows what may be told; `str(exc)` does not."""
    leaks = re.compile(r"log\w*\.(?:debug|info|warning|error|exception)\([^)]*str\(exc\)")
    root = Path(analysis_module.__file__).parents[1]
    found = [path.name for path in root.rglob("*.py") if leaks.search(path.read_text("utf-8"))]
    assert found == []
    assert leaks.search('log.error("x", error=str(exc))')
