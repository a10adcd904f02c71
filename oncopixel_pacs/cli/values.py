"""Values that the shell completes: names of the configuration, ids of the database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from oncopixel_pacs.settings import Settings, load_settings
from oncopixel_pacs.store.recent import recent

Values = Callable[[Settings], list[str]]


def _ids(what: str) -> Values:
    return lambda settings: recent(settings.resolved_database_url, what)


def _destinations(settings: Settings) -> list[str]:
    return [item.name for item in settings.destinations]


def _sources(settings: Settings) -> list[str]:
    return [item.name for item in settings.sources]


def _models(settings: Settings) -> list[str]:
    return [item.name for item in settings.all_models]


#: By command and parameter.
VALUES: dict[tuple[str, str], Values] = {
    ("jobs show", "job_id"): _ids("job"),
    ("jobs retry", "job_id"): _ids("job"),
    ("jobs cancel", "job_id"): _ids("job"),
    ("studies complete", "study_instance_uid"): _ids("study"),
    ("audit list", "study"): _ids("study"),
    ("destinations echo", "name"): _destinations,
    ("sources echo", "name"): _sources,
    ("pull", "source"): _sources,
    ("run", "model"): _models,
    ("users role", "name"): _ids("user"),
    ("users password", "name"): _ids("user"),
    ("users remove", "name"): _ids("user"),
    ("tokens revoke", "token_id"): _ids("token"),
}


def values_of(command: str, parameter: str, config: Path | None) -> list[str]:
    """List what may stand there; raises what `load_settings` raises."""
    return VALUES[command, parameter](load_settings(config))
