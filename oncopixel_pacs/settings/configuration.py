"""The whole configuration: the only reader of ``oncopixel.toml`` and of the environment."""

from __future__ import annotations

import tomllib
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

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings.analysis import (
    CompletionSettings,
    InferenceSettings,
    ResultSettings,
)
from oncopixel_pacs.settings.audit import AuditSettings
from oncopixel_pacs.settings.bucket import BucketSettings
from oncopixel_pacs.settings.delivery import DeliverySettings, RetentionSettings
from oncopixel_pacs.settings.destinations import (
    DestinationSettings,
    FolderDestination,
)
from oncopixel_pacs.settings.dimse import PeerSettings, ReceiveSettings, TlsSettings
from oncopixel_pacs.settings.export import ExportSettings
from oncopixel_pacs.settings.http import ApiSettings, MetricsSettings, is_loopback
from oncopixel_pacs.settings.models import ModelSettings, shipped_models
from oncopixel_pacs.settings.refusal import explain
from oncopixel_pacs.settings.section import AeTitle, Port
from oncopixel_pacs.settings.sources import PullSettings, SourceSettings
from oncopixel_pacs.settings.tracing import TracingSettings
from oncopixel_pacs.settings.uploads import UploadSettings
from oncopixel_pacs.settings.webhooks import WebhookSettings
from oncopixel_pacs.settings.worklist import WorklistSettings, require_known_sources


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
        _require_shadowed(self)
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

    @property
    def all_models(self) -> tuple[ModelSettings, ...]:
        """Every model that reads: the active ones, then the shadows."""
        return (*self.active_models, *self.shadow_models)


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


def _require_shadowed(settings: Settings) -> None:
    """Refuse a shipped model as a shadow of itself."""
    active = {item.name for item in settings.active_models}
    for model in settings.shadow_models:
        if model.shipped and model.name in active:
            raise ValueError(
                f"the shipped {model.name} is active as long as no active model is listed, and "
                "cannot be its own shadow; list the model that is to run in its place"
            )


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
