"""What is worth an audit record, and its message: DICOM PS3.15 A.5. Never a patient's name."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from xml.etree.ElementTree import Element, SubElement, tostring


@dataclass(frozen=True, slots=True)
class _Codes:
    """Event ID, action and type of PS3.15 A.5.3; codes of PS3.16, scheme DCM."""

    event: tuple[str, str]
    action: str
    type: tuple[str, str] | None = None


_ACTIVITY = ("110100", "Application Activity")
_ACCESSED = ("110103", "DICOM Instances Accessed")
_SIGN_IN = ("110114", "User Authentication")
_ALERT = ("110113", "Security Alert")


class AuditKind(Enum):
    """Kinds of events."""

    START = _Codes(_ACTIVITY, "E", ("110120", "Application Start"))
    STOP = _Codes(_ACTIVITY, "E", ("110121", "Application Stop"))
    LOGIN = _Codes(_SIGN_IN, "E", ("110122", "Login"))
    LOGOUT = _Codes(_SIGN_IN, "E", ("110123", "Logout"))
    QUERY = _Codes(("110112", "Query"), "E")
    VIEW = _Codes(_ACCESSED, "R")
    CHANGE = _Codes(_ACCESSED, "U")
    DELETE = _Codes(_ACCESSED, "D")
    EXPORT = _Codes(("110106", "Export"), "R")
    IMPORT = _Codes(("110107", "Import"), "C")
    RECEIVED = _Codes(("110104", "DICOM Instances Transferred"), "C")
    SENT = _Codes(("110104", "DICOM Instances Transferred"), "R")
    NETWORK = _Codes(_ALERT, "E", ("110128", "Network Configuration"))
    USERS = _Codes(_ALERT, "E", ("110137", "User Security Attributes Changed"))
    SETTINGS = _Codes(_ALERT, "E", ("110131", "Software Configuration"))
    FORBIDDEN = _Codes(_ALERT, "E", ("110132", "Use of Restricted Function"))
    UNKNOWN_NODE = _Codes(_ALERT, "E", ("110126", "Node Authentication"))


class AuditOutcome(Enum):
    """Event Outcome Indicator: 0 success, 4 minor failure, 8 serious failure."""

    SUCCESS = 0
    REFUSED = 4
    FAILED = 8


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that someone did.

    Attributes
    ----------
    who
        Name of the user, token or application entity; empty for someone unknown.
    address
        Network address it came from; empty for this machine itself.
    study_instance_uid, patient_id
        What it was done to; empty for nothing in particular.
    detail
        A few words, such as the path; no value that may name a patient.
    other
        The other side of a transfer: AE title or destination.
    """

    kind: AuditKind
    at: datetime
    who: str
    address: str = ""
    outcome: AuditOutcome = AuditOutcome.SUCCESS
    study_instance_uid: str = ""
    patient_id: str = ""
    detail: str = ""
    other: str = ""


def unaudited(event: AuditEvent) -> None:
    """Note nothing; for a part that runs without an audit trail."""


def message(event: AuditEvent, source: str) -> str:
    """Write an event as an audit message (PS3.15 A.5.1), on one line.

    Parameters
    ----------
    source
        Audit Source ID: our AE title.
    """
    codes = event.kind.value
    root = Element("AuditMessage")
    identification = SubElement(
        root,
        "EventIdentification",
        {
            "EventActionCode": codes.action,
            "EventDateTime": event.at.astimezone(UTC).isoformat(timespec="milliseconds"),
            "EventOutcomeIndicator": str(event.outcome.value),
        },
    )
    _coded(identification, "EventID", codes.event)
    if codes.type is not None:
        _coded(identification, "EventTypeCode", codes.type)
    # The receiver of what we receive is us; who did everything else asked for it.
    _participant(root, event.who or "unknown", requestor=True, address=event.address)
    _participant(root, source, requestor=False, role=("110150", "Application"))
    if event.other:
        role = "110153" if event.kind is AuditKind.RECEIVED else "110152"
        meaning = "Source Role ID" if role == "110153" else "Destination Role ID"
        _participant(root, event.other, requestor=False, role=(role, meaning))
    identified = SubElement(root, "AuditSourceIdentification", {"AuditSourceID": source})
    SubElement(identified, "AuditSourceTypeCode", {"csd-code": "4"})
    if event.study_instance_uid:
        _object(root, event.study_instance_uid, "2", "3", ("110180", "DCM", "Study Instance UID"))
    if event.patient_id:
        _object(root, event.patient_id, "1", "1", ("2", "RFC-3881", "Patient Number"))
    if event.detail:
        resource = _object(root, source, "2", "20", ("12", "RFC-3881", "URI"))
        SubElement(
            resource,
            "ParticipantObjectDetail",
            {"type": "request", "value": base64.b64encode(event.detail.encode()).decode()},
        )
    return tostring(root, encoding="unicode")


def _coded(parent: Element, tag: str, code: tuple[str, str], scheme: str = "DCM") -> None:
    value, meaning = code
    SubElement(parent, tag, {"csd-code": value, "codeSystemName": scheme, "originalText": meaning})


def _participant(
    root: Element,
    name: str,
    *,
    requestor: bool,
    address: str = "",
    role: tuple[str, str] | None = None,
) -> None:
    attributes = {"UserID": _printable(name), "UserIsRequestor": str(requestor).lower()}
    if address:
        attributes |= {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": "2"}
    participant = SubElement(root, "ActiveParticipant", attributes)
    if role is not None:
        _coded(participant, "RoleIDCode", role)


def _object(
    root: Element, identifier: str, kind: str, role: str, code: tuple[str, str, str]
) -> Element:
    found = SubElement(
        root,
        "ParticipantObjectIdentification",
        {
            "ParticipantObjectID": _printable(identifier),
            "ParticipantObjectTypeCode": kind,
            "ParticipantObjectTypeCodeRole": role,
        },
    )
    value, scheme, meaning = code
    _coded(found, "ParticipantObjectIDTypeCode", (value, meaning), scheme)
    return found


def _printable(text: str) -> str:
    """Replace what XML 1.0 forbids: names come from strangers."""
    return "".join(character if character.isprintable() else "?" for character in text)
