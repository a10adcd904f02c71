"""The role ``receive`` of the composition: takes images in, and fetches studies."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import structlog

from oncopixel_pacs.imaging.decode_pool import DecodePool
from oncopixel_pacs.imaging.sameness import is_same_object
from oncopixel_pacs.metrics.counting_store import CountingCallers
from oncopixel_pacs.opening import Store, utc_now
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.listeners import Ports
from oncopixel_pacs.receive.open_associations import AssociationWatch
from oncopixel_pacs.receive.pull.puller import Puller, PullParts
from oncopixel_pacs.receive.scp import StorageScp, open_records
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.associations import AssociationLeases
from oncopixel_pacs.store.pulls import Pulls
from oncopixel_pacs.store.retention import Retention

log = structlog.get_logger()


def start_receive(settings: Settings, store: Store, closing: ExitStack) -> Ports:
    """Listen for images, and fetch those that are asked for; `closing` ends both.

    Raises
    ------
    ConfigurationError
        When a port is taken.
    """
    # Before files without a row are looked for: some of them may have to go.
    Retention(store.database, store.files).recover()
    swept = store.files.sweep_incoming()
    same = partial(is_same_object, decoder=closing.enter_context(DecodePool()))
    intake = Intake(store.files, store.catalogue, utc_now, store.meters.refuse, same)
    adopted = intake.adopt_orphans()
    if swept or adopted:
        log.info("intake.recovered", swept=swept, adopted=adopted)
    note = store.audit.append_if_possible
    records = replace(
        open_records(store.database, settings.executor, note),
        callers=CountingCallers(store.database, store.meters),
    )
    scp = StorageScp(settings, intake, records, utc_now)
    ports = scp.start()
    closing.callback(scp.stop)
    store.meters.watch_senders(lambda: len(scp.callers))
    watch = AssociationWatch(AssociationLeases(store.database), lambda: scp.callers, utc_now)
    watch.start()
    closing.callback(watch.stop)
    puller = Puller(
        PullParts(
            Pulls(store.database),
            store.catalogue,
            store.ledger,
            intake,
            settings,
            utc_now,
        )
    )
    puller.start()
    closing.callback(puller.stop)
    return ports
