"""Every metric by name, kind, labels and meaning: the reference in the documents is made of it.

Labels hold what is configured or an enumeration, and for drift AE titles of those who sent
hundreds of studies; never a patient, a study, or what a stranger sent, so that there are few series
and none tells of anyone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Type of a metric, as in the exposition format of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Source(StrEnum):
    """Who knows a metric."""

    PROCESS = "each process, since its start"
    STATE = "a process with the role api, for all"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name
        With its unit, and with ``_total`` for a counter.
    buckets
        Upper bounds of a histogram; empty for everything else.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    source: Source = Source.PROCESS
    buckets: tuple[float, ...] = ()


_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600)
_TENTHS = tuple(round(step / 10, 1) for step in range(1, 11))

INSTANCES = Metric(
    "oncopixel_instances_received_total",
    Kind.COUNTER,
    "Objects that were taken in, by outcome: new, duplicate, or conflict.",
    ("outcome",),
)
RECEIVED_BYTES = Metric(
    "oncopixel_received_bytes_total", Kind.COUNTER, "Bytes of new objects that were taken in."
)
REFUSED_INSTANCES = Metric(
    "oncopixel_instances_refused_total",
    Kind.COUNTER,
    "Objects that were refused, by reason: out-of-resources, dataset-mismatch, "
    "cannot-understand, or unexpected.",
    ("reason",),
)
REJECTED_ASSOCIATIONS = Metric(
    "oncopixel_associations_rejected_total",
    Kind.COUNTER,
    "Association requests that were rejected, by reason: unknown, plain, called, limit, or tls.",
    ("reason",),
)
CONNECTED = Metric(
    "oncopixel_senders_connected",
    Kind.GAUGE,
    "Senders, by AE title, that have an association open at this process.",
)
SKIPPED_IMAGES = Metric(
    "oncopixel_images_not_analysed_total",
    Kind.COUNTER,
    "Images that no model read, by reason.",
    ("reason",),
)
STEP_SECONDS = Metric(
    "oncopixel_step_seconds",
    Kind.HISTOGRAM,
    "Duration of each attempt at a step of a job: analyse, write, deliver; done or failed.",
    ("step", "outcome"),
    buckets=_SECONDS,
)
STAGE_SECONDS = Metric(
    "oncopixel_stage_seconds",
    Kind.HISTOGRAM,
    "Duration of each stage of an analysis: decode, prepare, classify, segment, and others.",
    ("stage",),
    buckets=_SECONDS,
)
DEVICE_SECONDS = Metric(
    "oncopixel_device_busy_seconds_total",
    Kind.COUNTER,
    "Seconds that models computed, by device and task; its rate is the device's use.",
    ("device", "task"),
)
MODELS_READY = Metric(
    "oncopixel_models_ready",
    Kind.GAUGE,
    "1 while the models of this process are loaded; absent where another process runs them.",
)
JOBS_ENDED = Metric(
    "oncopixel_jobs_ended_total",
    Kind.COUNTER,
    "Jobs that ended, by state: done, not-analysed, failed, or cancelled.",
    ("state",),
)
JOB_SECONDS = Metric(
    "oncopixel_job_seconds",
    Kind.HISTOGRAM,
    "From the moment a study was complete to the last answer of a destination, for jobs that "
    "ended done at their first run.",
    buckets=_SECONDS,
)
STUDY_SCORE = Metric(
    "oncopixel_study_score",
    Kind.HISTOGRAM,
    "Probability of malignancy of each analysed study, by classifier.",
    ("model",),
    buckets=_TENTHS,
)
FINDINGS = Metric(
    "oncopixel_findings_total",
    Kind.COUNTER,
    "Findings in analysed studies, by segmenter.",
    ("model",),
)
DELIVERY_ATTEMPTS = Metric(
    "oncopixel_delivery_attempts_total",
    Kind.COUNTER,
    "Attempts to send a result object, by destination and what came of it: accepted, failed "
    "for good, or queued again.",
    ("destination", "outcome"),
)

STUDIES = Metric(
    "oncopixel_studies", Kind.GAUGE, "Studies that are held, by state.", ("state",), Source.STATE
)
JOBS = Metric("oncopixel_jobs", Kind.GAUGE, "Jobs, by state.", ("state",), Source.STATE)
QUEUE_AGE = Metric(
    "oncopixel_queue_age_seconds",
    Kind.GAUGE,
    "How long the study has waited to be analysed that waits longest; 0 while none does. Jobs "
    "that a person queued again are left out: nobody knows since when.",
    source=Source.STATE,
)
DELIVERIES = Metric(
    "oncopixel_deliveries",
    Kind.GAUGE,
    "Result objects by destination and state of their delivery.",
    ("destination", "state"),
    Source.STATE,
)
BACKLOG_AGE = Metric(
    "oncopixel_delivery_backlog_age_seconds",
    Kind.GAUGE,
    "How long the result object has waited for its destination that waits longest; 0 while "
    "none does.",
    ("destination",),
    Source.STATE,
)
RESTING = Metric(
    "oncopixel_destination_resting",
    Kind.GAUGE,
    "1 while a destination is left alone, since it could not be used.",
    ("destination",),
    Source.STATE,
)
UNCONFIRMED = Metric(
    "oncopixel_results_unconfirmed",
    Kind.GAUGE,
    "Result objects that were accepted and are overdue to be found there.",
    ("destination",),
    Source.STATE,
)
BACKUP_MADE = Metric(
    "oncopixel_backup_timestamp_seconds",
    Kind.GAUGE,
    "When the last backup was made; 0 where none ever was.",
    source=Source.STATE,
)
QUARANTINED = Metric(
    "oncopixel_results_quarantined",
    Kind.GAUGE,
    "Result objects that are held back by the gate.",
    source=Source.STATE,
)
DISK_FREE = Metric(
    "oncopixel_disk_free_bytes",
    Kind.GAUGE,
    "Free bytes of the volume of the data directory.",
    source=Source.STATE,
)
DISK_SIZE = Metric(
    "oncopixel_disk_size_bytes",
    Kind.GAUGE,
    "Size of the volume of the data directory.",
    source=Source.STATE,
)
DISK_WATERMARK = Metric(
    "oncopixel_disk_watermark_bytes",
    Kind.GAUGE,
    "Free bytes below which new images are refused.",
    source=Source.STATE,
)
ALARMS = Metric(
    "oncopixel_alarms",
    Kind.GAUGE,
    "Alarms that stand on the page of that name, by what they are about: server, studies, jobs, "
    "models, or the name of a destination or of a receiver of webhooks or exports.",
    ("subject",),
    Source.STATE,
)
CERTIFICATE_EXPIRY = Metric(
    "oncopixel_certificate_expiry_timestamp_seconds",
    Kind.GAUGE,
    "When our certificate for DICOM or for HTTP expires, in seconds since 1970; absent, with an "
    "alarm, while its file cannot be read.",
    ("use",),
    Source.STATE,
)
MODEL_INFO = Metric(
    "oncopixel_model_info",
    Kind.GAUGE,
    "1 for each configured model, with its version, task and operating point.",
    ("model", "version", "task", "threshold"),
    Source.STATE,
)
DRIFT_PSI = Metric(
    "oncopixel_drift_psi",
    Kind.GAUGE,
    "Population stability index of a sender's latest studies against its first ones, of their "
    "scores or views; sender * is all together. From 0.25 on it is drift; absent below 200 "
    "studies in either, and for all but the twenty busiest senders. Five minutes old at most.",
    ("model", "sender", "of"),
    Source.STATE,
)
DRIFT_KS = Metric(
    "oncopixel_drift_ks",
    Kind.GAUGE,
    "Kolmogorov-Smirnov statistic of the same scores, from 0 to 1.",
    ("model", "sender"),
    Source.STATE,
)
DATABASE_UP = Metric(
    "oncopixel_database_up",
    Kind.GAUGE,
    "1 while the database answers; without it all that is read from it is absent.",
    source=Source.STATE,
)
BUILD_INFO = Metric(
    "oncopixel_build_info", Kind.GAUGE, "1, with the version of the product.", ("version",)
)

ALL: tuple[Metric, ...] = tuple(
    item for item in list(globals().values()) if isinstance(item, Metric)
)
