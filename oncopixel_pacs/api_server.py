"""The HTTP side of the composition: the API with its pages, or the metrics alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypedDict

from oncopixel_pacs import __version__
from oncopixel_pacs.actions import retry_job
from oncopixel_pacs.api.access import Gatekeeper, require_sign_in
from oncopixel_pacs.api.alarms import alarms_by_subject
from oncopixel_pacs.api.application import create_app
from oncopixel_pacs.api.dicomweb.addresses import service_url
from oncopixel_pacs.api.http_server import HttpServer, https_context
from oncopixel_pacs.api.metrics import metrics_app
from oncopixel_pacs.api.ohif import ohif_router
from oncopixel_pacs.api.parts import ApiParts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.conflict_settling import ConflictSettling
from oncopixel_pacs.destination_checks import ask, send_test
from oncopixel_pacs.domain import Algorithm, Job
from oncopixel_pacs.domain.conflicts import ShownConflict
from oncopixel_pacs.imaging.decode_pool import DecodePool
from oncopixel_pacs.imaging.sameness import is_same_object
from oncopixel_pacs.infer.cards import read_candidates
from oncopixel_pacs.infer.device_pool import DevicePool
from oncopixel_pacs.metrics.state import StateCollector
from oncopixel_pacs.opening import Store, utc_now
from oncopixel_pacs.overlays import overlay_png
from oncopixel_pacs.receive.contexts import STORAGE_SOP_CLASSES
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.stow import STOW_PROBLEMS, StowService, stow_router
from oncopixel_pacs.receive.upload.desk import UploadDesk
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.settings.http import is_loopback
from oncopixel_pacs.store.accounts import Accounts
from oncopixel_pacs.store.activity import Activity
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.briefs import Briefs
from oncopixel_pacs.store.callers import Callers
from oncopixel_pacs.store.cancelling import cancel_job
from oncopixel_pacs.store.changes import Changes
from oncopixel_pacs.store.conflicts import Conflicts
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.feedback import ReaderFeedback
from oncopixel_pacs.store.free_space import FreeSpace
from oncopixel_pacs.store.hosts import Hosts, HostWatch
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
from oncopixel_pacs.viewer import configuration, installed_viewer
from oncopixel_pacs.workflow.engine import WorkQueue


def start_api(
    settings: Settings,
    store: Store,
    queue: WorkQueue,
    algorithms: tuple[Algorithm, ...],
    device: DevicePool | None,
    closing: ExitStack,
) -> int:
    """Start the API and the pages; `closing` ends them.

    Parameters
    ----------
    device
        The devices of this process; ``None`` where it has no role ``work``.

    Returns
    -------
    int
        The port that it really listens on.

    Raises
    ------
    ConfigurationError
        When the port is taken, or others could read without signing in.
    """
    # Any process with the data directory can take images in.
    decoder = closing.enter_context(DecodePool())
    same = partial(is_same_object, decoder=decoder)
    intake = Intake(store.files, store.catalogue, utc_now, store.meters.refuse, same)
    uploads = Uploads(store.database)
    desk = UploadDesk(intake, store.catalogue, uploads, settings.upload, utc_now)
    parts = _api_parts(settings, store, queue, algorithms, device, desk, decoder)
    stow = StowService(
        intake=intake,
        space=parts.free_space,
        sop_classes=frozenset({*STORAGE_SOP_CLASSES, *settings.receive.further_sop_classes}),
        service_url=service_url,
    )
    routers = [] if parts.viewer is None else [ohif_router(parts.viewer, configuration())]
    routers += [stow_router(stow, documented(*STOW_PROBLEMS))]
    require_sign_in(settings, parts.accounts, parts.tokens)
    store.meters.registry.register(
        shared_state(store, settings, algorithms, partial(alarms_by_subject, parts))
    )
    app, tls = create_app(parts, routers), https_context(settings.api)
    http = HttpServer(app, settings.http_host, settings.http_port, tls)
    port = http.start()
    closing.callback(http.stop)
    return port


def start_metrics(settings: Settings, store: Store, closing: ExitStack) -> int:
    """Tell what a process counts that has no other HTTP server; returns its port."""
    database = store.database
    gatekeeper = Gatekeeper(
        settings.api,
        Accounts(database),
        ApiTokens(database),
        utc_now,
        must_sign_in=not is_loopback(settings.metrics.host),
    )
    app = metrics_app(store.meters.exposition, gatekeeper, settings)
    host, port, tls = settings.metrics.host, settings.metrics.port, https_context(settings.api)
    http = HttpServer(app, host, port or 0, tls)
    closing.callback(http.stop)
    return http.start()


def shared_state(
    store: Store,
    settings: Settings,
    algorithms: tuple[Algorithm, ...],
    alarms: Callable[[], Mapping[str, int]] = dict,
) -> StateCollector:
    """Make what reads for Prometheus how the whole stands."""
    certificates = {"dicom": settings.tls.certificate, "http": settings.api.certificate}
    return StateCollector(
        store.database,
        FreeSpace(store.files.data_dir, settings.receive.least_free_bytes),
        tuple(item.name for item in settings.destinations),
        {use: path for use, path in certificates.items() if path is not None},
        algorithms,
        store.drift,
        utc_now,
        alarms,
    )


class _Lists(TypedDict):
    """What reads many rows in few columns, and what is kept for those who ask."""

    activity: Activity
    briefs: Briefs
    backups: Backups
    changes: Changes
    idempotency: IdempotencyKeys
    search: Search


class _Acting(TypedDict):
    """What a person can have done to a job."""

    retry: Callable[[str], Job]
    cancel: Callable[[str], Job]
    read_again: Callable[[str], Job]
    send_again: Callable[[str], Job]


class _Settling(TypedDict):
    """What is done about conflicts."""

    conflicts: Conflicts
    conflicts_of: Callable[[str, int], tuple[ShownConflict, ...]]
    take_conflicts: Callable[[str, Sequence[int]], int]
    dismiss_conflicts: Callable[[str, Sequence[int]], int]


def _names(settings: Settings) -> tuple[str, ...]:
    return tuple(item.name for item in settings.destinations)


def _acting(store: Store, queue: WorkQueue, settings: Settings) -> _Acting:
    return _Acting(
        retry=partial(retry_job, store.ledger, queue),
        cancel=lambda job_id: cancel_job(store.database, job_id, utc_now()),
        read_again=partial(retry_job, store.ledger, queue, anew=True),
        send_again=partial(retry_job, store.ledger, queue, resend=_names(settings)),
    )


def _settling(store: Store) -> _Settling:
    settling = ConflictSettling(store.database, store.files, utc_now)
    return _Settling(
        conflicts=Conflicts(store.database),
        conflicts_of=settling.of_study,
        take_conflicts=settling.take,
        dismiss_conflicts=settling.dismiss,
    )


def _lists(database: Database) -> _Lists:
    return _Lists(
        activity=Activity(database),
        briefs=Briefs(database),
        backups=Backups(database),
        changes=Changes(database),
        idempotency=IdempotencyKeys(database),
        search=Search(database),
    )


def _api_parts(
    settings: Settings,
    store: Store,
    queue: WorkQueue,
    algorithms: tuple[Algorithm, ...],
    device: DevicePool | None,
    desk: UploadDesk,
    decoder: DecodePool,
) -> ApiParts:
    return ApiParts(
        **_lists(store.database),
        **_settling(store),
        **_acting(store, queue, settings),
        accounts=Accounts(store.database),
        audit=store.audit,
        tokens=ApiTokens(store.database),
        catalogue=store.catalogue,
        callers=Callers(store.database),
        allowed_peers=AllowedPeers(store.database),
        shadows=Shadows(store.database),
        decoder=decoder,
        feedback=ReaderFeedback(store.database),
        free_space=FreeSpace(store.files.data_dir, settings.receive.least_free_bytes),
        uploads=Uploads(store.database),
        webhooks=Webhooks(store.database),
        ledger=store.ledger,
        outbox=Outbox(store.database),
        pulls=Pulls(store.database),
        files=store.files,
        settings=settings,
        algorithms=algorithms,
        candidates=read_candidates(settings.all_models),
        quarantine=Quarantine(store.database),
        retention_clock=RetentionClock(store.database, settings.executor),
        workitems=Workitems(store.database),
        proofs=Proofs(store.database),
        models_ready=lambda: None if device is None else device.ready,
        models_alarm=HostWatch(Hosts(store.database), settings.takeover_seconds).alarm,
        drift=store.drift,
        echo=partial(ask, settings),
        test_send=partial(send_test, settings, utc_now),
        viewer=installed_viewer(settings.data_dir),
        take_upload=desk.take,
        render_overlay=partial(overlay_png, store.catalogue, store.files, decoder),
        started_at=utc_now(),
        version=__version__,
        now=utc_now,
        exposition=store.meters.exposition,
    )
