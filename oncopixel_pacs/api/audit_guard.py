"""Notes who asked for what over HTTP in the audit trail."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from anyio import to_thread
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oncopixel_pacs.api.problems import problem
from oncopixel_pacs.api.route_rules import SAFE_METHODS
from oncopixel_pacs.audit import AuditEvent, AuditKind, AuditOutcome
from oncopixel_pacs.domain.access import Caller
from oncopixel_pacs.errors import NotFound, OutOfResources
from oncopixel_pacs.store.audit_trail import AuditTrail

log = structlog.get_logger()

#: A page renews itself, and a viewer asks for each image: one record a minute says the same.
REPEAT_SECONDS = 60
_MOST_REMEMBERED = 10_000
_TOO_MANY = 429
#: Records kept in memory while the database takes none; past them nothing more is answered.
MOST_DEFERRED = 10_000
_STUDY = r"(?:/api/v1|/dicom-web)?/studies/(?P<study>[0-9.]+)"
_JOB = r"(?:/api/v1)?/jobs/(?P<job>[^/]+)"
_READ, _WRITE, _ANY = "read", "write", "any"
#: First match counts; a request that fits none says nothing of studies or security.
_KINDS: tuple[tuple[str, str, AuditKind], ...] = (
    (_WRITE, r"/login$", AuditKind.LOGIN),
    (_READ, r"/login/oidc/callback$", AuditKind.LOGIN),
    (_WRITE, r"/logout$", AuditKind.LOGOUT),
    (_WRITE, r"((/api/v1)?/(users|tokens)|/password$)", AuditKind.USERS),
    (_WRITE, r"(/api/v1)?/(peers|destinations)", AuditKind.NETWORK),
    (_WRITE, r"(/api/v1)?/(settings|models|webhooks)", AuditKind.SETTINGS),
    (_WRITE, r"/dicom-web/studies(/|$)|(/api/v1/images|/upload)$", AuditKind.IMPORT),
    (
        _READ,
        r"/dicom-web/studies/[^/]+(/(series|instances)(/[^/]+)?(/instances(/[^/]+)?)?)?$|"
        r"(/api/v1)?/jobs/[^/]+/objects/",
        AuditKind.EXPORT,
    ),
    (_READ, f"{_STUDY}|{_JOB}|(/api/v1)?/uploads/", AuditKind.VIEW),
    (_WRITE, f"{_STUDY}|{_JOB}|(/api/v1)?/pulls|/api/v1/studies$", AuditKind.CHANGE),
    (_READ, r"/$|(/api/v1|/dicom-web)?/(studies|series|instances|jobs|audit)$", AuditKind.QUERY),
    (_WRITE, r"", AuditKind.CHANGE),
)


class AuditGuard:
    """Appends a record for each request that touches a study, an account or a setting.

    The record is durable before the answer begins; when it cannot be written, the request fails.

    Parameters
    ----------
    study_of_job
        Finds the study of a job; raises `NotFound` where there is none.
    patient_id_of
        Finds the Patient ID of a study; raises `NotFound` where there is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        trail: AuditTrail,
        now: Callable[[], datetime],
        study_of_job: Callable[[str], str],
        patient_id_of: Callable[[str], str],
    ) -> None:
        self._app = app
        self._trail = trail
        self._now = now
        self._study_of_job = study_of_job
        self._patient_id_of = patient_id_of
        self._lately: OrderedDict[tuple[str, ...], datetime] = OrderedDict()
        self._deferred: deque[AuditEvent] = deque()
        self._one_at_a_time = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)

        unrecorded = False

        async def note(message: Message) -> None:
            nonlocal unrecorded
            if message["type"] == "http.response.start":
                try:
                    await self._note(request, int(message["status"]))
                except OutOfResources as exc:
                    unrecorded = True
                    await problem(request, 503, str(exc))(scope, receive, send)
            if not unrecorded:
                await send(message)

        await self._app(scope, receive, note)

    async def _note(self, request: Request, status: int) -> None:
        kind, fields = kind_of(request.method, request.url.path)
        known: Caller | None = getattr(request.state, "caller", None)
        if status in (401, 403):
            kind = AuditKind.LOGIN if kind is AuditKind.LOGIN else AuditKind.FORBIDDEN
        if kind is None:
            return
        who = "" if known is None else known.name or "anyone on this machine"
        who = who or str(getattr(request.state, "claimed_name", ""))
        address = request.client.host if request.client else ""
        path = request.url.path
        # Who is not known, or has to wait, may ask as often as it likes: of that the trail, which
        # forgets nothing, keeps one record a minute.
        refused = status == _TOO_MANY or (known is None and kind is AuditKind.FORBIDDEN)
        repeats = refused or (request.method in SAFE_METHODS and kind is not AuditKind.LOGIN)
        # Of views of one study one record is enough, whatever part of it was looked at.
        place = fields.get("study") or fields.get("job") or (path if repeats else "")
        place = "" if refused else place
        key = (kind.name, who, address, place, str(status // 100))
        if repeats and self._said_lately(key):
            return
        try:
            await to_thread.run_sync(self._append, kind, request, status, who, address, fields)
        except OutOfResources:
            self._lately.pop(key, None)
            raise

    def _append(
        self,
        kind: AuditKind,
        request: Request,
        status: int,
        who: str,
        address: str,
        fields: dict[str, str],
    ) -> None:
        study, patient = fields.get("study", ""), ""
        try:
            study = study or (self._study_of_job(fields["job"]) if "job" in fields else "")
            patient = self._patient_id_of(study) if study else ""
        except NotFound:
            pass
        outcome = AuditOutcome.SUCCESS
        if status >= 400:
            outcome = AuditOutcome.REFUSED if status < 500 else AuditOutcome.FAILED
        # Names of the parameters, not their values: one may search for a patient's name.
        asked = "&".join(sorted(set(request.query_params)))
        detail = f"{request.method} {request.url.path[:400]}{'?' if asked else ''}{asked[:200]}"
        event = AuditEvent(
            kind, self._now(), who, address, outcome, study[:64], patient, f"{detail} {status}"
        )
        self._keep(event)

    def _keep(self, event: AuditEvent) -> None:
        """Append a record, and before it those that the trail could not take when they were made.

        Raises
        ------
        OutOfResources
            When the trail takes nothing and no more can be kept for it.
        """
        with self._one_at_a_time:
            self._deferred.append(event)
            try:
                while self._deferred:
                    self._trail.append(self._deferred[0])
                    self._deferred.popleft()
            except OutOfResources as exc:
                if len(self._deferred) > MOST_DEFERRED:
                    self._deferred.pop()
                    raise
                # Should the process end before the trail takes it, this line tells of it.
                log.error(
                    "audit.deferred",
                    kind=event.kind.name.lower(),
                    who=event.who,
                    study=event.study_instance_uid,
                    error=str(exc),
                )

    def _said_lately(self, key: tuple[str, ...]) -> bool:
        now = self._now()
        before = self._lately.get(key)
        if before is not None and now - before < timedelta(seconds=REPEAT_SECONDS):
            return True
        self._lately[key] = now
        self._lately.move_to_end(key)
        while len(self._lately) > _MOST_REMEMBERED:
            self._lately.popitem(last=False)
        return False


def kind_of(method: str, path: str) -> tuple[AuditKind | None, dict[str, str]]:
    """Find what a request is, and the study or job that its path names."""
    manner = _READ if method in SAFE_METHODS else _WRITE
    fields: dict[str, str] = {}
    for pattern in (_STUDY, _JOB):
        if found := re.match(pattern, path):
            fields = found.groupdict()
    for when, pattern, kind in _KINDS:
        if when in (manner, _ANY) and re.match(pattern, path):
            return kind, fields
    return None, fields
