"""UPS-RS (PS3.18 section 11): search, read, claim, update and end workitems of a worklist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from oncopixel_pacs.deliver.dicomweb_client import open_client
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import TlsSettings
from oncopixel_pacs.settings.worklist import WorklistSettings

#: A data set in the DICOM JSON model (PS3.18 F.2).
Attributes = Mapping[str, Any]

SCHEDULED, IN_PROGRESS = "SCHEDULED", "IN PROGRESS"
COMPLETED, CANCELED = "COMPLETED", "CANCELED"
STATE, TRANSACTION, INSTANCE = "00741000", "00081195", "00080018"
_WORKITEM_CODE, _CODE_VALUE, _CODE_SCHEME = "00404018", "00080100", "00080102"
_READINESS, _INPUT, _STUDY = "00404041", "00404021", "0020000D"
_JSON = "application/dicom+json"
#: Of 400 to 499, refusals that may pass: a login, a lock, a limit.
_PASSING = frozenset({401, 403, 408, 423, 425, 429})
_PAGE, _MOST_PAGES = 100, 20
_MOST_BYTES = 16 << 20
#: PS3.5 9.1.
_UID = re.compile(r"(?=.{1,64}\Z)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")


class NoWork(ValueError):
    """A workitem that is not for us; says why, without quoting it."""


@dataclass(frozen=True)
class Worklist:
    """One worklist while it is talked to.

    Every method raises `DeliveryFailed` when the service gives no usable answer: permanent where
    it refused, so that asking the same again is no use. Its `status` is empty where no HTTP
    answer came, and that of a success where its content is not what was asked for.
    """

    settings: WorklistSettings
    client: httpx.Client

    def scheduled(self) -> tuple[str, ...]:
        """Search for what nobody has claimed; returns SOP Instance UIDs, those that are valid."""
        wanted: dict[str, str | int] = {STATE: SCHEDULED, "limit": _PAGE}
        if self.settings.code_value:
            wanted[f"{_WORKITEM_CODE}.{_CODE_VALUE}"] = self.settings.code_value
            wanted[f"{_WORKITEM_CODE}.{_CODE_SCHEME}"] = self.settings.code_scheme
        found: dict[str, None] = {}
        for page in range(_MOST_PAGES):
            answer = self._ask("GET", "workitems", params={**wanted, "offset": page * _PAGE})
            items = answer if isinstance(answer, list) else []
            new = dict.fromkeys(uid for item in items if (uid := one(item, INSTANCE, is_uid)))
            # A service that knows no offset sends the same again.
            if not new.keys() - found.keys():
                break
            found |= new
            if len(items) < _PAGE:
                break
        return tuple(found)

    def read(self, workitem_uid: str) -> Attributes:
        """Retrieve a workitem."""
        answer = self._ask("GET", f"workitems/{workitem_uid}")
        items = answer if isinstance(answer, list) else [answer]
        if len(items) != 1 or not isinstance(items[0], dict):
            raise self._failed("it answered with something else than the workitem", False, 200)
        if one(items[0], INSTANCE, is_uid) not in ("", workitem_uid):
            raise self._failed("it answered with another workitem", False, 200)
        found: Attributes = items[0]
        return found

    def change_state(self, workitem_uid: str, transaction_uid: str, state: str) -> None:
        """Claim a workitem, complete it or cancel it (PS3.18 11.7)."""
        changes = {TRANSACTION: element("UI", transaction_uid), STATE: element("CS", state)}
        self._ask("PUT", f"workitems/{workitem_uid}/state", content=_body(changes))

    def update(self, workitem_uid: str, transaction_uid: str, changes: Attributes) -> None:
        """Change attributes of a workitem that is ours (PS3.18 11.6).

        The Transaction UID is in the query, as PS3.18 has it, and in the data set, as PS3.4
        CC.2.6 has it for DIMSE: services look for it here or there.
        """
        content = _body({TRANSACTION: element("UI", transaction_uid), **changes})
        self._ask("POST", f"workitems/{workitem_uid}?{transaction_uid}", content=content)

    def _ask(self, method: str, path: str, **how: Any) -> Any:
        headers = {"Accept": _JSON}
        if "content" in how:
            headers["Content-Type"] = _JSON
        try:
            with self.client.stream(method, path, headers=headers, **how) as answer:
                status, body = answer.status_code, self._read_body(answer)
        except httpx.HTTPError as exc:
            raise self._failed(f"it gave no answer ({type(exc).__name__})", False) from exc
        if not 200 <= status < 300:
            permanent = 400 <= status < 500 and status not in _PASSING
            raise self._failed(f"it answered HTTP {status}", permanent, status)
        if method != "GET" or status == httpx.codes.NO_CONTENT:
            return []
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise self._failed("its answer is no DICOM JSON; check url", False, status) from exc

    def _read_body(self, answer: httpx.Response) -> bytes:
        body = bytearray()
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise self._failed("its answer is larger than any worklist", False, 200)
        return bytes(body)

    def _failed(self, reason: str, permanent: bool, status: int = 0) -> DeliveryFailed:
        return DeliveryFailed(
            f"Worklist {self.settings.name}: {reason}.",
            permanent=permanent,
            status=str(status or ""),
        )


@contextmanager
def opened(
    settings: WorklistSettings, timeout_seconds: float, tls: TlsSettings
) -> Iterator[Worklist]:
    """Talk to a worklist."""
    with open_client(settings, timeout_seconds, tls) as client:
        yield Worklist(settings, client)


def study_of(workitem: Attributes, settings: WorklistSettings) -> str:
    """Find the one study that a workitem wants read.

    Raises
    ------
    NoWork
        When it is not scheduled, not ready, has another code, or names no study or several.
    """
    if one(workitem, STATE) != SCHEDULED:
        raise NoWork("it is not scheduled any more")
    if one(workitem, _READINESS) not in ("", "READY"):
        raise NoWork("its input is not ready yet")
    wanted = (settings.code_value, settings.code_scheme)
    codes = items_of(workitem, _WORKITEM_CODE)
    if settings.code_value and wanted not in [
        (one(item, _CODE_VALUE), one(item, _CODE_SCHEME)) for item in codes
    ]:
        raise NoWork("its Scheduled Workitem Code is not the one that we take")
    studies = {one(item, _STUDY) for item in items_of(workitem, _INPUT)}
    if not studies:
        raise NoWork("it has no Input Information")
    if len(studies) > 1:
        raise NoWork("its input are several studies")
    (study,) = studies
    if not is_uid(study):
        raise NoWork("its input has no valid Study Instance UID")
    return study


def element(representation: str, *values: Any) -> dict[str, Any]:
    """Write an element; without values it is empty."""
    return {"vr": representation, **({"Value": list(values)} if values else {})}


def items_of(attributes: Any, tag: str) -> Sequence[Attributes]:
    """Items of a sequence; none where there is no such sequence."""
    return [item for item in _values(attributes, tag) if isinstance(item, dict)]


def one(attributes: Any, tag: str, fits: Any = None) -> str:
    """First value of an element, as text; empty where there is none, or it does not fit."""
    value = next(iter(_values(attributes, tag)), None)
    text = value.strip(" \0") if isinstance(value, str) else ""
    return text if fits is None or fits(text) else ""


def is_uid(text: str) -> bool:
    """Whether it is a UID (PS3.5 9.1)."""
    return _UID.fullmatch(text) is not None


def _values(attributes: Any, tag: str) -> list[Any]:
    found = attributes.get(tag) if isinstance(attributes, dict) else None
    values = found.get("Value") if isinstance(found, dict) else None
    return values if isinstance(values, list) else []


def _body(attributes: Attributes) -> bytes:
    # An array even of one: services of both kinds are about, and those of one take the array.
    return json.dumps([attributes]).encode()
