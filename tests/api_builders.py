"""Fills a store the way the server does, and serves it over real HTTP for tests of the API."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from builders import (
    NOON,
    STUDY_UID,
    later,
    make_algorithm,
    make_delivery,
    make_facts,
    make_instance,
    make_object,
    make_result,
)
from conftest import Store
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from server_process import NO_AUTHORITIES

from oncopixel_pacs.api.application import create_app
from oncopixel_pacs.api.http_server import HttpServer
from oncopixel_pacs.api.parts import ApiParts
from oncopixel_pacs.conflict_settling import ConflictSettling
from oncopixel_pacs.domain import (
    DeliveryState,
    ImageResult,
    IntakeOutcome,
    Job,
    JobState,
    ModelTask,
    ObjectKind,
    Reason,
    StepName,
    StudyHeader,
)
from oncopixel_pacs.imaging.codecs import decode
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.upload.desk import UploadDesk
from oncopixel_pacs.sender_drift import DriftWatch
from oncopixel_pacs.settings import CStoreDestination, Settings
from oncopixel_pacs.store.accounts import Accounts
from oncopixel_pacs.store.activity import Activity
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.briefs import Briefs
from oncopixel_pacs.store.callers import Callers
from oncopixel_pacs.store.cancelling import cancel_job
from oncopixel_pacs.store.changes import Changes
from oncopixel_pacs.store.conflicts import Conflicts
from oncopixel_pacs.store.feedback import ReaderFeedback
from oncopixel_pacs.store.free_space import FreeSpace
from oncopixel_pacs.store.history import History
from oncopixel_pacs.store.idempotency import IdempotencyKeys
from oncopixel_pacs.store.installation import Backups
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.peers import AllowedPeers
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.store.pulls import Pulls
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.store.retention_clock import RetentionClock
from oncopixel_pacs.store.search import Search
from oncopixel_pacs.store.shadows import Shadows
from oncopixel_pacs.store.uploads import Uploads
from oncopixel_pacs.store.webhooks import Webhooks
from oncopixel_pacs.store.workitems import Workitems

JOB = "5d0c6a1f0f7e4a4f9be0d5a1"
HEADER = StudyHeader("EXAMPLE^JANE", "P-0007", "Screening mammogram", "A-1207", "20250301")
PACS = CStoreDestination(type="cstore", name="pacs", host="127.0.0.1", port=104, ae_title="ARCHIVE")
EVERYTHING: Mapping[str, Sequence[ObjectKind]] = {"pacs": tuple(ObjectKind)}
REFUSED = "pacs (ARCHIVE at 127.0.0.1 port 104): nothing listens there."


def decode_file(_header: Dataset, path: Path, index: int) -> NDArray[Any]:
    """Decode in this process what the server decodes in another."""
    return decode(dcmread(path), index)


def draw(_job: Job, image: ImageResult) -> bytes:
    """Draw a grey picture of the image's shape; stands in for the real overlay."""
    out = io.BytesIO()
    size = (image.facts.columns // 10, image.facts.rows // 10)
    Image.new("L", size, 90).save(out, "PNG")
    return out.getvalue()


def make_parts(
    store: Store,
    *,
    tokens: Sequence[str] = (),
    upload: Mapping[str, object] | None = None,
    api: Mapping[str, object] | None = None,
    **changes: Any,
) -> ApiParts:
    """Make the parts of an API over this store, listening on loopback, with one destination."""
    settings = Settings.model_validate(
        {
            "data_dir": store.files.data_dir,
            "destinations": (PACS.model_dump(),),
            "api": {"tokens": tuple(tokens), **(api or {})},
            "upload": dict(upload or {}),
        }
    )
    uploads = Uploads(store.database)
    intake = Intake(store.files, store.catalogue, lambda: later(30))
    desk = UploadDesk(intake, store.catalogue, uploads, settings.upload, lambda: later(30))
    settling = ConflictSettling(store.database, store.files, lambda: later(60))
    parts = ApiParts(
        accounts=Accounts(store.database),
        audit=AuditTrail(store.database, "ONCOPIXEL"),
        tokens=ApiTokens(store.database),
        briefs=Briefs(store.database),
        catalogue=store.catalogue,
        callers=Callers(store.database),
        allowed_peers=AllowedPeers(store.database),
        search=Search(store.database),
        shadows=Shadows(store.database),
        decoder=decode_file,
        feedback=ReaderFeedback(store.database),
        free_space=FreeSpace(store.files.data_dir, 0),
        uploads=uploads,
        webhooks=Webhooks(store.database),
        ledger=store.ledger,
        outbox=Outbox(store.database),
        proofs=Proofs(store.database),
        conflicts=Conflicts(store.database),
        pulls=Pulls(store.database),
        files=store.files,
        settings=settings,
        quarantine=Quarantine(store.database),
        backups=Backups(store.database),
        retention_clock=RetentionClock(store.database, "local"),
        workitems=Workitems(store.database),
        algorithms=(make_algorithm(), make_algorithm(ModelTask.SEGMENT)),
        models_ready=lambda: True,
        models_alarm=lambda: "",
        retry=lambda job_id: store.ledger.restart(job_id, lambda *_: None),
        read_again=lambda job_id: store.ledger.restart(job_id, lambda *_: None, anew=True),
        cancel=lambda job_id: cancel_job(store.database, job_id, NOON),
        send_again=lambda job_id: store.ledger.restart(job_id, lambda *_: None, resend=["pacs"]),
        conflicts_of=settling.of_study,
        take_conflicts=settling.take,
        dismiss_conflicts=settling.dismiss,
        activity=Activity(store.database),
        drift=DriftWatch(History(store.database), lambda: later(100)),
        idempotency=IdempotencyKeys(store.database),
        changes=Changes(store.database),
        echo=lambda destination: f"{destination.name} answered 0x0000",
        test_send=lambda destination: f"{destination.name} took the test picture",
        viewer=None,
        take_upload=desk.take,
        render_overlay=draw,
        started_at=NOON,
        version="9.9.9",
        now=lambda: later(3600),
        exposition=lambda: b"oncopixel_up_and_told 1\n",
    )
    return replace(parts, **changes)


@contextmanager
def serving(parts: ApiParts) -> Iterator[httpx.Client]:
    """Serve these parts on a free port; gives a client that is at that address."""
    server = HttpServer(create_app(parts), parts.settings.http_host, 0)
    address = f"http://127.0.0.1:{server.start()}"
    try:
        with httpx.Client(
            base_url=address, timeout=20, trust_env=False, verify=NO_AUTHORITIES
        ) as client:
            yield client
    finally:
        server.stop()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(password: str, user: str = "admin") -> dict[str, str]:
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def receive(
    store: Store, images: int = 1, *, study: str = STUDY_UID, header: StudyHeader = HEADER
) -> None:
    """Receive so many views of a study, a second apart."""
    for number in range(1, images + 1):
        instance = make_instance(number, study=study, received_at=later(number))
        store.catalogue.add_instance(instance, header)


def receive_other_content(store: Store, study: str = STUDY_UID) -> None:
    """Receive the first image again under the same UID, with other pixels."""
    other = make_instance(1, study=study, content="other", received_at=later(30))
    assert store.catalogue.add_instance(other, HEADER) is IntakeOutcome.CONFLICT


def queue(store: Store, job_id: str = JOB, *, study: str = STUDY_UID, at: float = 60) -> Job:
    """Settle a study: its job is queued."""
    job = store.catalogue.settle(
        store.catalogue.study(study), "d" * 64, job_id, later(at), lambda *_: None
    )
    assert job is not None
    return job


def analyse(
    store: Store, job_id: str = JOB, *, reason: Reason | None = None, skip_last: bool = False
) -> None:
    """Analyse a job in two seconds; the last image, or with `reason` every one, is left out."""
    job = store.ledger.job(job_id)
    store.ledger.set_state(job_id, JobState.ANALYSING)
    store.ledger.begin_step(job_id, StepName.ANALYSE, later(61))
    facts = [
        make_facts(int(uid.rpartition(".")[2]), study=job.study_instance_uid)
        for uid in job.sop_instance_uids
    ]
    result = make_result(facts, revision=job.revision, reason=reason)
    if skip_last:
        left_out = ImageResult(facts[-1], reason=Reason.NO_VIEW, reason_detail="Empty sequence.")
        result = replace(result, images=(*result.images[:-1], left_out))
    store.ledger.save_result(job_id, result)
    detail = {"decode": 0.5, "classify": 1.25}
    store.ledger.end_step(job_id, StepName.ANALYSE, later(63), detail)


def write(
    store: Store,
    job_id: str = JOB,
    destinations: Mapping[str, Sequence[ObjectKind]] = EVERYTHING,
) -> None:
    """Write a SEG and an SR and queue their deliveries."""
    study = store.ledger.job(job_id).study_instance_uid
    store.ledger.begin_step(job_id, StepName.WRITE, later(63))
    objects = [make_object(1, study=study), make_object(2, ObjectKind.SR, study=study)]
    store.ledger.end_step(job_id, StepName.WRITE, later(64))
    if destinations:
        store.ledger.begin_step(job_id, StepName.DELIVER, later(64))
    store.ledger.add_objects(job_id, objects, destinations, later(64), lambda *_: None)


def answer(
    store: Store,
    state: DeliveryState = DeliveryState.ACCEPTED,
    job_id: str = JOB,
    destination: str = "pacs",
    **changes: Any,
) -> None:
    """Have the destination answer every object of a job that it takes."""
    for item in store.ledger.job(job_id).objects:
        store.ledger.begin_delivery(destination, [item.sop_instance_uid])
        sent = make_delivery(item, state, destination=destination, **changes)
        store.ledger.record_delivery(sent)
    store.ledger.close_delivery(job_id, later(67))


def finish(store: Store, images: int = 4) -> None:
    """Bring one study from its first image to results that the PACS accepted."""
    receive(store, images)
    queue(store)
    analyse(store)
    write(store)
    answer(store, finished_at=later(67))


def fail(store: Store, error: str = "The process that runs the models crashed.") -> None:
    """Bring one study to a job that failed."""
    receive(store)
    queue(store)
    store.ledger.begin_step(JOB, StepName.ANALYSE, later(61))
    store.ledger.fail_step(JOB, StepName.ANALYSE, later(62), error)
    store.ledger.finish(JOB, JobState.FAILED, later(62), error)
