"""Route about the settings in force; nothing that is secret is among them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fastapi import APIRouter
from pydantic import BaseModel, SecretStr

from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape

router = APIRouter(prefix="/api/v1/settings", tags=["server"])

HIDDEN = "(set, hidden)"
_SECRET_NAME = re.compile(r"password|secret|token|access_key|credential", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")
_EXAMPLE = {"name": "ae_title", "value": "ONCOPIXEL", "changed": False}


class Setting(BaseModel):
    """One setting as it is in force."""

    model_config = shape(_EXAMPLE)

    name: str
    """Path in the configuration file, such as ``completion.quiet_seconds``."""
    value: str
    changed: bool
    """Whether it was set in the file or the environment."""


class SettingList(BaseModel):
    """The settings in force."""

    model_config = shape({"items": [_EXAMPLE]})

    items: tuple[Setting, ...]


@router.get("", summary="List the settings", responses=tagged(documented()), dependencies=TAGGED)
def list_settings(parts: Parts) -> SettingList:
    """List what the file, the environment and the defaults say; secrets are not told."""
    return SettingList(items=tuple(told(parts.settings)))


def told(section: BaseModel, prefix: str = "", given: bool = True) -> Iterator[Setting]:
    """Give every setting of a section by its path; secrets are hidden."""
    for name in type(section).model_fields:
        changed = given and name in section.model_fields_set
        yield from _value(getattr(section, name), f"{prefix}{name}", changed)


def _value(value: object, name: str, changed: bool) -> Iterator[Setting]:
    if isinstance(value, BaseModel):
        yield from told(value, f"{name}.", changed)
    elif isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        for number, item in enumerate(value):
            yield from _value(item, f"{name}[{number}]", changed)
    else:
        yield Setting(name=name, value=_written(name, value), changed=changed)


def _written(name: str, value: object) -> str:
    if value is None or value == "" or value == ():
        return "–"
    secret = isinstance(value, SecretStr) or _SECRET_NAME.search(name.rpartition(".")[2])
    if isinstance(value, SecretStr) and not value.get_secret_value():
        return "–"
    if secret or (isinstance(value, tuple) and any(isinstance(i, SecretStr) for i in value)):
        return HIDDEN
    if isinstance(value, tuple | frozenset):
        return ", ".join(str(item) for item in value)
    # A URL may carry user and password before the host.
    return _CREDENTIALS.sub("", str(value))
