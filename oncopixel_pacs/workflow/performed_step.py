"""What we tell a worklist about a workitem that we performed, or did not (PS3.4 Table CC.2.5-3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydicom.sr.coding import Code

from oncopixel_pacs.deliver.worklist import Attributes, element, items_of, one
from oncopixel_pacs.domain import DeliveryState, Job, JobState, ObjectKind
from oncopixel_pacs.report.codes import PRIVATE_SCHEME
from oncopixel_pacs.settings import CStoreDestination, DestinationSettings, StowDestination

# CID 9231 General Purpose Workitem Definition; CID 9300 Procedure Discontinuation Reasons.
_DETECTION = Code("110004", "DCM", "Computer Aided Detection")
UNSPECIFIED = Code("110513", "DCM", "Discontinued for unspecified reason")
NOT_SUPPORTED = Code("110522", "DCM", "Object Types not supported")
INCOMPLETE = Code("110523", "DCM", "Object Set incomplete")

_PROGRESS, _PERFORMED = "00741002", "00741216"
_WORKITEM_CODE = "00404018"
#: Of Procedure Step Progress Description, a ST (PS3.5 6.2).
_MOST_CHARACTERS = 1024
_DELIVERED = frozenset({DeliveryState.ACCEPTED, DeliveryState.CONFIRMED})


@dataclass(frozen=True)
class Station:
    """Who performed: a name, and where what it sent lies."""

    name: str
    destinations: Mapping[str, DestinationSettings]


@dataclass(frozen=True)
class Discontinued:
    """Why a workitem was not performed."""

    words: str
    code: Code


def claimed() -> Attributes:
    """Write that we are at it."""
    item = {"00741004": element("DS", 0), "00741006": element("ST", "Claimed.")}
    return {_PROGRESS: element("SQ", item)}


def completed(job: Job, workitem: Attributes, station: Station, began: datetime) -> Attributes:
    """Write the performed procedure of a job that is done.

    Parameters
    ----------
    workitem
        As it was scheduled; its code is the one performed.
    began
        When we claimed it.

    Returns
    -------
    dict
        Every attribute that Table CC.2.5-3 asks for before COMPLETED, as DICOM JSON.
    """
    scheduled = items_of(workitem, _WORKITEM_CODE)
    named = [item for item in scheduled if one(item, "00080100") and one(item, "00080104")]
    ended = max(began, job.finished_at or began)
    performed = {
        "00404028": element("SQ", _coded(Code(station.name, PRIVATE_SCHEME, station.name))),
        "00404050": element("DT", _moment(began)),
        "00404019": element("SQ", named[0] if named else _coded(_DETECTION)),
        "00404051": element("DT", _moment(ended)),
        # Without items where nothing went anywhere.
        "00404033": element("SQ", *_outputs(job, station.destinations)),
    }
    progress = {
        "00741004": element("DS", 100),
        "00741006": element("ST", "Analysed; for research use only."),
    }
    return {_PROGRESS: element("SQ", progress), _PERFORMED: element("SQ", performed)}


def canceled(why: Discontinued, at: datetime) -> Attributes:
    """Write why a workitem is not performed: all that Table CC.2.5-3 asks for before CANCELED."""
    words = why.words[:_MOST_CHARACTERS]
    progress = {
        "00741006": element("ST", words),
        "00404052": element("DT", _moment(at)),
        "00741238": element("LT", words),
        "0074100E": element("SQ", _coded(why.code)),
    }
    return {_PROGRESS: element("SQ", progress)}


def why_not(job: Job) -> Discontinued | None:
    """Say why a job that has ended is no performed procedure; ``None`` of one that is."""
    if job.state is JobState.DONE:
        return None
    if job.state is JobState.NOT_ANALYSED:
        images = () if job.result is None else job.result.images
        reasons = sorted({item.reason.sentence for item in images if item.reason is not None})
        said = " ".join(["No image of the study was analysed.", *reasons])
        return Discontinued(said, NOT_SUPPORTED)
    said = job.error or f"The analysis of the study ended as {job.state.value}."
    return Discontinued(said, UNSPECIFIED)


def _outputs(job: Job, places: Mapping[str, DestinationSettings]) -> Iterator[Attributes]:
    """Referenced Instances and Access (PS3.3 Table 10-3b), by destination and series."""
    objects = {item.sop_instance_uid: item for item in job.current}
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for delivery in job.deliveries:
        item = objects.get(delivery.sop_instance_uid)
        if item is None or item.kind is ObjectKind.REJECTION:
            continue
        if delivery.state in _DELIVERED and not delivery.retracted_by:
            found[delivery.destination, item.series_instance_uid].append(item)
    for (name, series), sent in sorted(found.items()):
        references = [
            {
                "00081150": element("UI", item.sop_class_uid),
                "00081155": element("UI", item.sop_instance_uid),
            }
            for item in sorted(sent, key=lambda item: item.sop_instance_uid)
        ]
        yield {
            "0040E020": element("CS", "DICOM"),
            "0020000D": element("UI", job.study_instance_uid),
            "0020000E": element("UI", series),
            "00081199": element("SQ", *references),
            **_where(places.get(name), job.study_instance_uid, series),
        }


def _where(place: DestinationSettings | None, study: str, series: str) -> Attributes:
    if isinstance(place, CStoreDestination):
        title = {"00080054": element("AE", place.ae_title)}
        return {"0040E021": element("SQ", title)}
    if isinstance(place, StowDestination):
        url = f"{place.url.rstrip('/')}/studies/{study}/series/{series}"
        return {"0040E025": element("SQ", {"00081190": element("UR", url)})}
    # Orthanc's own API and folders have neither; whoever runs them knows.
    return {}


def _coded(code: Code) -> Attributes:
    return {
        "00080100": element("SH", code.value),
        "00080102": element("SH", code.scheme_designator),
        "00080104": element("LO", code.meaning),
    }


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")
