"""The composition root: settings in, running parts out. Nothing else builds parts."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import structlog

from oncopixel_pacs import __version__
from oncopixel_pacs.domain import Algorithm, ImageResult, Job
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.imaging.overlay import render_overlay
from oncopixel_pacs.infer.cards import models_digest, read_algorithms
from oncopixel_pacs.infer.device_process import DeviceProcess
from oncopixel_pacs.infer.label_maps import read_label_map
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database, open_database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.workflow.analysis import StudySteps
from oncopixel_pacs.workflow.delivery import DeliverySteps
from oncopixel_pacs.workflow.engine import Executor, Steps, WorkQueue
from oncopixel_pacs.workflow.settling import Reconciler, Settler, Watch

log = structlog.get_logger()


class Role(StrEnum):
    """What a server process does; several hosts may share a database and split the roles."""

    RECEIVE = "receive"
    WORK = "work"
    API = "api"


def utc_now() -> datetime:
    """Return the current time, aware and in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Addresses:
    """Ports that the server really listens on; ``None`` for a role it does not have."""

    dimse_port: int | None
    http_port: int | None


@dataclass
class Store:
    """Where everything is kept."""

    database: Database
    files: FileStore
    catalogue: Catalogue
    ledger: Ledger


def open_store(settings: Settings) -> Store:
    """Open data directory and database, making both when they are missing.

    Raises
    ------
    ConfigurationError
        When either cannot be opened.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        files = FileStore(settings.data_dir)
    except OSError as exc:
        raise ConfigurationError(
            f"The data directory {settings.data_dir} cannot be used ({exc.strerror}); "
            "make it writable or set data_dir."
        ) from exc
    database = open_database(settings.resolved_database_url)
    return Store(database, files, Catalogue(database), Ledger(database))


def overlay_png(store: Store, job: Job, image: ImageResult) -> bytes:
    """Picture of one image of a job with its findings outlined."""
    uid = image.facts.sop_instance_uid
    study = store.catalogue.study(job.study_instance_uid)
    instance = next(i for i in study.instances if i.facts.sop_instance_uid == uid)
    labels = read_label_map(store.files.labels_dir(job.id), uid)
    score = "" if image.probability is None else f"  {image.probability:.0%}"
    mammogram = read_mammogram(store.files.absolute(instance.path))
    return render_overlay(mammogram, labels, f"{image.facts.name}{score}")
