"""Settings: the only reader of ``oncopixel.toml`` and of the environment.

Every value can be overridden by an environment variable ``ONCOPIXEL_<NAME>``, with ``__``
between levels (``ONCOPIXEL_COMPLETION__QUIET_SECONDS=5``). Settings are frozen and passed on;
nothing else reads configuration.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from oncopixel_pacs.audit_settings import AuditSettings as AuditSettings
from oncopixel_pacs.bucket_settings import BucketSettings as BucketSettings
from oncopixel_pacs.destination_settings import CStoreDestination as CStoreDestination
from oncopixel_pacs.destination_settings import DestinationProfile as DestinationProfile
from oncopixel_pacs.destination_settings import DestinationSettings as DestinationSettings
from oncopixel_pacs.destination_settings import FolderDestination as FolderDestination
from oncopixel_pacs.destination_settings import Name
from oncopixel_pacs.destination_settings import OrthancDestination as OrthancDestination
from oncopixel_pacs.destination_settings import StowDestination as StowDestination
from oncopixel_pacs.dimse_settings import AeTitle, Port, Section
from oncopixel_pacs.dimse_settings import PeerSettings as PeerSettings
from oncopixel_pacs.dimse_settings import ReceiveSettings as ReceiveSettings
from oncopixel_pacs.dimse_settings import TlsSettings as TlsSettings
from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.export_settings import ExportSettings as ExportSettings
from oncopixel_pacs.http_settings import ApiSettings as ApiSettings
from oncopixel_pacs.http_settings import MetricsSettings as MetricsSettings
from oncopixel_pacs.http_settings import is_loopback
from oncopixel_pacs.rule_settings import RuleSettings as RuleSettings
from oncopixel_pacs.settings_refusal import explain
from oncopixel_pacs.source_settings import SourceSettings as SourceSettings
from oncopixel_pacs.tracing_settings import TracingSettings as TracingSettings
from oncopixel_pacs.trusted_settings import TrustedSettings as TrustedSettings
from oncopixel_pacs.upload_settings import UploadSettings as UploadSettings
from oncopixel_pacs.webhook_settings import WebhookSettings as WebhookSettings
from oncopixel_pacs.worklist_settings import WorklistSettings, require_known_sources

#: At most a year, so that adding it to a time never overflows.
Seconds = Annotated[float, Field(ge=0, le=31_536_000)]
PositiveSeconds = Annotated[float, Field(gt=0, le=31_536_000)]
BUNDLES = Path(__file__).parent / "bundles"


class ModelSettings(Section):
    """A MONAI bundle that the server runs."""

    name: Name
    """Name of the model, unique."""
    task: ModelTask
    """What it answers: ``classify`` (a probability per image) or ``segment`` (lesion mask)."""
    bundle: Path
    """Folder of the bundle; relative paths start at the configuration file."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of ``models/model.pt``; weights with another digest are refused."""
    threshold: float = Field(ge=0.0, le=1.0)
    """Operating point: probability at or above which the model calls a finding."""
    shadow: bool = False
    """Reads beside the active models; what it says is kept and compared, and never sent."""
    rule: RuleSettings = RuleSettings()
    trusted: TrustedSettings | None = None


class CompletionSettings(Section):
    """When a study counts as complete."""

    quiet_seconds: Seconds = 60.0
    """A study settles when no image has come for so long."""
    settle_seconds: Seconds = 1.0
    """The same, once every expected view is there."""
    max_wait_seconds: PositiveSeconds = 1800.0
    """A study settles at the latest so long after its first unsettled image."""
    expected_views: tuple[str, ...] = ("R CC", "L CC", "R MLO", "L MLO")
    """Views whose presence lets a study settle early; empty: only quiet counts."""


class InferenceSettings(Section):
    """The child processes that run the models, one for each device."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes the GPUs where there are any."""
    processes: int = Field(default=0, ge=0, le=64)
    """Child processes; 0 stands for one on each GPU, or one on the CPU. Several on one GPU share
    it by turns."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of each child's models; 0 stands for an equal share of the cores."""
    openers: int = Field(default=0, ge=0, le=256)
    """Images that each child decodes at a time; 0 stands for an equal share of the cores."""
    batch_images: int = Field(default=0, ge=0, le=4096)
    """Images that a model is asked for at a time, of one study or several; 0 stands for 4 on the
    CPU and 32 on a GPU. Where they do not fit into the memory, half as many are tried."""
    studies_at_a_time: int = Field(default=3, ge=1, le=256)
    """Studies that a host has under way, from reading to written results. The same on all hosts
    of a database: the one that started last decides. On GPUs 8 for each."""
    deadline_seconds: PositiveSeconds = 600.0
    """A study that takes longer fails and the child is restarted."""
    memory_mib: int = Field(default=0, ge=0)
    """Memory that the child may use, in MiB, before it is ended and restarted; 0 stands for four
    fifths of the machine's. Memory of a GPU is not counted."""
    max_attempts: int = Field(default=3, ge=1)
    """Attempts at one study before it is reported as failed."""


class DeliverySettings(Section):
    """How results are sent and re-sent."""

    first_retry_seconds: PositiveSeconds = 2.0
    """Longest wait before the second attempt; each further one is twice as long."""
    max_retry_seconds: PositiveSeconds = 300.0
    """Longest wait between two attempts."""
    timeout_seconds: PositiveSeconds = 30.0
    """How long a destination may be silent."""
    circuit_failures: int = Field(default=5, ge=1)
    """Attempts in a row that find a destination unusable, after which it rests: then one job at
    a time tries it, until it answers."""
    confirm_seconds: PositiveSeconds = 3600.0
    """How long a result may stay unconfirmed at a destination that accepted it and can be asked;
    then an alarm stands on every page, and the result is sent again."""
    resends: int = Field(default=2, ge=0)
    """How often an unconfirmed result is sent again before only the alarm is left."""


class PullSettings(Section):
    """How studies are pulled from sources."""

    attempts: int = Field(default=5, ge=1)
    """Attempts at one pull before it ends as partial or failed."""
    first_retry_seconds: PositiveSeconds = 5.0
    """Wait before the second attempt; each further wait is twice as long."""
    max_retry_seconds: PositiveSeconds = 300.0
    """Longest wait between two attempts."""
    timeout_seconds: PositiveSeconds = 60.0
    """How long a source may be silent."""


class ResultSettings(Section):
    """What is asked of results before they are sent, and what the page links to."""

    validators: Literal["auto", "off"] = "auto"
    """``auto`` asks dciodvfy and dsrdump, where they are installed, before anything is sent."""
    validator_seconds: PositiveSeconds = 60.0
    """What they may take for the results of one study; past it they are not asked further."""
    model_card_url: str = ""
    """Where people find the cards of the models; the page of a study links to it."""


class RetentionSettings(Section):
    """What may be deleted. Without `days` nothing ever is."""

    days: float | None = Field(default=None, ge=0, le=36_500)
    """A study is deleted so many days after its last image came and its last delivery was
    confirmed; never while one is not. Absent: kept for ever."""


class Settings(BaseSettings):
    """Everything that can be configured. Defaults serve one machine with no other server."""

    model_config = SettingsConfigDict(
        env_prefix="ONCOPIXEL_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    data_dir: Path = Path("oncopixel-data")
    """Where images, results and the embedded database lie."""
    database_url: str | None = None
    """SQLAlchemy URL; SQLite inside ``data_dir`` when absent. PostgreSQL:
    ``postgresql+psycopg://user:password@host/database``."""
    ae_title: AeTitle = "ONCOPIXEL"
    """Our AE title, as acceptor and as requestor."""
    dimse_host: str = "127.0.0.1"
    """Address that the DICOM listener binds."""
    dimse_port: Port = 11112
    """Port that the DICOM listener binds; 0 picks a free one."""
    http_host: str = "127.0.0.1"
    """Address that the HTTP server binds."""
    http_port: Port = 8080
    """Port that the HTTP server binds; 0 picks a free one."""
    executor: str = "local"
    """Name of this host among those that share the database."""
    takeover_seconds: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """A host of which nothing was heard for so long is taken for dead; others do its work."""
    stop_seconds: Annotated[float, Field(ge=1, le=3600)] = 45.0
    """A stop that takes longer is cut off; what is left is done after the next start."""
    peers: tuple[PeerSettings, ...] = ()
    """Known senders, besides those allowed on the page "Peers". Empty: any sender while
    ``dimse_host`` is loopback."""
    tls: TlsSettings = TlsSettings()
    receive: ReceiveSettings = ReceiveSettings()
    upload: UploadSettings = UploadSettings()
    destinations: tuple[DestinationSettings, ...] = ()
    """Where results are sent."""
    sources: tuple[SourceSettings, ...] = ()
    """Archives from which studies are pulled on request."""
    exports: tuple[ExportSettings, ...] = ()
    webhooks: tuple[WebhookSettings, ...] = ()
    """Who is called when a study is finished."""
    worklists: tuple[WorklistSettings, ...] = ()
    models: tuple[ModelSettings, ...] = ()
    """Models to run; the shipped ones when empty."""
    completion: CompletionSettings = CompletionSettings()
    inference: InferenceSettings = InferenceSettings()
    delivery: DeliverySettings = DeliverySettings()
    pull: PullSettings = PullSettings()
    results: ResultSettings = ResultSettings()
    retention: RetentionSettings = RetentionSettings()
    bucket: BucketSettings = BucketSettings()
    api: ApiSettings = ApiSettings()
    metrics: MetricsSettings = MetricsSettings()
    audit: AuditSettings = AuditSettings()
    tracing: TracingSettings = TracingSettings()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""
    log_format: Literal["text", "json"] = "text"
    """``json`` for log collectors."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before file: both are read in `load_settings`."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _require_unique("destination", [item.name for item in self.destinations])
        _require_unique("source", sources := [item.name for item in self.sources])
        _require_unique("worklist", [item.name for item in self.worklists])
        require_known_sources(self.worklists, sources)
        told = [item.name for item in self.webhooks] + [item.name for item in self.exports]
        _require_unique("webhook or export", told)
        _require_unique("model", [item.name for item in self.models])
        pinned = [peer.ae_title for peer in self.peers if peer.certificate_sha256]
        if pinned and not self.tls.listens:
            raise ValueError(f"peer {pinned[0]} must come over TLS, so set [tls] certificate")
        _require_called(self)
        if not self.api.encrypted and not is_loopback(self.http_host):
            raise ValueError(
                f"http_host {self.http_host} is reachable from other machines, so set [api] "
                "certificate and key, or name the reverse proxy in [api] trusted_proxies"
            )
        if not (is_loopback(self.metrics.host) or self.api.certificate or self.metrics.networks):
            raise ValueError(
                f"metrics.host {self.metrics.host} is reachable from other machines, so set [api] "
                "certificate and key, or name who may read in [metrics] networks"
            )
        return self

    @property
    def resolved_database_url(self) -> str:
        """`database_url`, or the embedded SQLite database."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'oncopixel.sqlite'}"

    @property
    def http_on_loopback(self) -> bool:
        """Whether only this machine reaches the HTTP server."""
        return is_loopback(self.http_host)

    @property
    def http_needs_sign_in(self) -> bool:
        """Whether other machines reach the HTTP server, directly or through a proxy."""
        return not self.http_on_loopback or bool(self.api.trusted_proxies)

    @property
    def takes_anyone(self) -> bool:
        """Whether every sender may send: none is named, and only this machine can call."""
        return not self.peers and is_loopback(self.dimse_host)

    @property
    def active_models(self) -> tuple[ModelSettings, ...]:
        """The configured models that results are made of, or the shipped ones."""
        return tuple(item for item in self.models if not item.shadow) or shipped_models()

    @property
    def shadow_models(self) -> tuple[ModelSettings, ...]:
        """The configured models whose answers are compared and never sent."""
        return tuple(item for item in self.models if item.shadow)


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Read settings from a TOML file, the environment and keyword overrides.

    Parameters
    ----------
    config
        Configuration file; ``oncopixel.toml`` in the working directory when absent and there.
        Relative paths in it start at its folder.
    **overrides
        Values that win over both.

    Raises
    ------
    ConfigurationError
        When the file is missing, cannot be read or is not TOML, or a value is not allowed.
    """
    path = config or Path("oncopixel.toml")
    if config is not None and not path.is_file():
        raise ConfigurationError(f"There is no configuration file {path}; check --config.")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        settings = FromFile(**overrides)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path} is not valid TOML: {exc}.") from exc
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read ({exc.strerror}).") from exc
    except SettingsError as exc:
        raise ConfigurationError(
            f"Configuration refused: {exc}; lists in the environment are written as JSON."
        ) from exc
    except ValidationError as exc:
        raise ConfigurationError(explain(exc, Settings)) from exc
    return _anchor_paths(settings, path.parent)


@cache
def shipped_models() -> tuple[ModelSettings, ...]:
    """Read the models that come with the product, pinned by ``bundles/models.toml``."""
    table = tomllib.loads((BUNDLES / "models.toml").read_text(encoding="utf-8"))
    entries = (ModelSettings.model_validate(entry) for entry in table["models"])
    return tuple(entry.model_copy(update={"bundle": BUNDLES / entry.bundle}) for entry in entries)


def _anchor_paths(settings: Settings, folder: Path) -> Settings:
    destinations = tuple(
        item.model_copy(update={"path": folder / item.path})
        if isinstance(item, FolderDestination)
        else item
        for item in settings.destinations
    )
    models = tuple(
        item.model_copy(update={"bundle": folder / item.bundle}) for item in settings.models
    )
    tls = settings.tls
    files = {
        name: folder / path
        for name in ("certificate", "key", "ca_file")
        if (path := getattr(tls, name)) is not None
    }
    api = settings.api
    http_files = {
        name: folder / path
        for name in ("certificate", "key")
        if (path := getattr(api, name)) is not None
    }
    audit = settings.audit
    if audit.syslog_ca_file is not None:
        audit = audit.model_copy(update={"syslog_ca_file": folder / audit.syslog_ca_file})
    return settings.model_copy(
        update={
            "audit": audit,
            "api": api.model_copy(update=http_files),
            "tls": tls.model_copy(update=files),
            "data_dir": (folder / settings.data_dir).absolute(),
            "destinations": destinations,
            "models": models,
        }
    )


def _require_unique(kind: str, names: list[str]) -> None:
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"{kind} name used twice: {', '.join(doubled)}")


def _require_called(settings: Settings) -> None:
    """Refuse a rule that waits for an AE title under which nobody can call us."""
    ours = {settings.ae_title.strip(), *settings.receive.further_ae_titles}
    for model in settings.models:
        unknown = [title for title in model.rule.called_ae_titles if title.strip() not in ours]
        if unknown:
            raise ValueError(
                f"the rule of model {model.name} names the called AE title {unknown[0]}, which is "
                "not ours; add it to further_ae_titles in [receive]"
            )
