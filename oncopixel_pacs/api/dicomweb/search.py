"""QIDO-RS: search for studies, series and instances (PS3.18 10.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import WithJsonSchema
from pydicom.dataset import Dataset

from oncopixel_pacs.api.dicomweb import addresses
from oncopixel_pacs.api.dicomweb.addresses import PREFIX, SERIES, STUDY, Uid
from oncopixel_pacs.api.dicomweb.json_model import (
    DicomJson,
    Json,
    attribute,
    attributes_json,
    metadata_json,
)
from oncopixel_pacs.api.dicomweb.media_types import DICOM_JSON, require_json
from oncopixel_pacs.api.dicomweb.query import Query as SearchQuery
from oncopixel_pacs.api.dicomweb.query import matches, read_query
from oncopixel_pacs.api.parts import ApiParts, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.errors import NotFound, UnreadableImage
from oncopixel_pacs.imaging.frames import StoredObject
from oncopixel_pacs.store.search import Criteria, HeldObject

#: Attributes that are always in the answer (PS3.18 Tables 10.6.3-3 to 10.6.3-5).
_STUDY = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
)
_SERIES = (
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
)
_INSTANCE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "BitsAllocated",
    "NumberOfFrames",
)

_FOUND = {"type": "array", "items": {"type": "object"}}
#: Read by `read_query`, which refuses what is not one.
Count = Annotated[str, WithJsonSchema({"type": "integer", "minimum": 0})]
router = APIRouter(prefix=PREFIX, tags=["DICOMweb"])


def _paging(
    limit: Annotated[
        Count | None,
        Query(
            description="How many results at most; 500 at the top, 100 of all studies by default."
        ),
    ] = None,
    offset: Annotated[Count | None, Query(description="How many results are skipped.")] = None,
    includefield: Annotated[
        list[str] | None,
        Query(description="Keywords or tags to add, separated by commas; `all` for everything."),
    ] = None,
) -> None:
    """Describe the parameters; `read_query` reads them with every key."""


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "What matches.", "content": {DICOM_JSON: {"schema": _FOUND}}},
    204: {"description": "Nothing matches."},
    **documented(400, 404, 406),
}
_ROUTE: dict[str, Any] = {
    "response_class": DicomJson,
    "responses": _ANSWERS,
    "dependencies": [Depends(_paging)],
}


@router.get("/studies", summary="Search for studies", **_ROUTE)
def search_studies(request: Request, parts: Parts) -> Response:
    """Studies, the one that received an image last first.

    Keys: PatientName, PatientID, AccessionNumber, StudyDate, StudyTime, StudyID,
    StudyDescription, ReferringPhysicianName, StudyInstanceUID, ModalitiesInStudy, and those of
    series and instances that the database knows.
    """
    search = _Search.of(request, parts, {})
    uids = parts.search.studies(search.query.criteria, search.query.limit + 1, search.query.offset)
    shown = uids[: search.query.limit]
    held = parts.search.objects(Criteria(study_instance_uids=shown)) if shown else ()
    return search.answer(_grouped(held, lambda item: item.study_instance_uid), _study, len(uids))


@router.get("/series", summary="Search for series of every study", **_ROUTE)
def search_all_series(request: Request, parts: Parts) -> Response:
    """Series of every study, with the attributes of their studies."""
    search = _Search.of(request, parts, {})
    found = parts.search.series(search.query.criteria, search.query.limit + 1, search.query.offset)
    shown = found[: search.query.limit]
    uids = tuple(dict.fromkeys(series for _, series in shown))
    held = parts.search.objects(Criteria(series_instance_uids=uids)) if uids else ()
    groups = [
        group
        for group in _grouped(held, lambda item: item.series_instance_uid)
        if (group[0].study_instance_uid, group[0].series_instance_uid) in shown
    ]
    return search.answer(groups, _study_and_series, len(found))


@router.get("/instances", summary="Search for instances of every study", **_ROUTE)
def search_all_instances(request: Request, parts: Parts) -> Response:
    """Instances of every study, with the attributes of their studies and series."""
    search = _Search.of(request, parts, {})
    held = parts.search.objects(search.query.criteria, search.query.limit + 1, search.query.offset)
    groups = [(item,) for item in held[: search.query.limit]]
    return search.answer(groups, _study_series_and_instance, len(held))


@router.get(f"{STUDY}/series", summary="Search for series of a study", **_ROUTE)
def search_series(request: Request, parts: Parts, study_instance_uid: Uid) -> Response:
    """Series of one study, images first; any attribute can be a key."""
    search = _Search.of(request, parts, {"StudyInstanceUID": study_instance_uid})
    addresses.find(parts, study_instance_uid)
    held = parts.search.objects(search.query.criteria)
    return search.answer_below(_grouped(held, lambda item: item.series_instance_uid), _series)


@router.get(f"{STUDY}/instances", summary="Search for instances of a study", **_ROUTE)
def search_study_instances(request: Request, parts: Parts, study_instance_uid: Uid) -> Response:
    """Instances of one study, images first; any attribute can be a key."""
    search = _Search.of(request, parts, {"StudyInstanceUID": study_instance_uid})
    addresses.find(parts, study_instance_uid)
    held = parts.search.objects(search.query.criteria)
    return search.answer_below([(item,) for item in held], _series_and_instance)


@router.get(f"{SERIES}/instances", summary="Search for instances of a series", **_ROUTE)
def search_series_instances(
    request: Request, parts: Parts, study_instance_uid: Uid, series_instance_uid: Uid
) -> Response:
    """Instances of one series; any attribute can be a key."""
    path = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
    search = _Search.of(request, parts, path)
    addresses.find(parts, study_instance_uid, series_instance_uid)
    held = parts.search.objects(search.query.criteria)
    return search.answer_below([(item,) for item in held], _instance)


Group = Sequence[HeldObject]
Describe = Callable[[Dataset, Group, "_Search"], Json]


@dataclass(frozen=True, slots=True)
class _Search:
    """One search while it is answered."""

    query: SearchQuery
    parts: ApiParts
    root: str

    @classmethod
    def of(cls, request: Request, parts: ApiParts, path: dict[str, str]) -> _Search:
        require_json(request)
        query = read_query(request.query_params, path)
        return cls(query, parts, addresses.service_url(request))

    def answer(self, groups: Sequence[Group], describe: Describe, found: int) -> Response:
        """Answer with one result for each group."""
        more = found > self.query.limit
        ignored = tuple(
            f"{keyword} can be matched below a study alone and was ignored."
            for keyword in self.query.further
        )
        items = [self._describe(self._first(group), group, describe) for group in groups]
        return self._response(items, (*self.query.warnings, *ignored), more)

    def answer_below(self, groups: Sequence[Group], describe: Describe) -> Response:
        """Answer within one study, where keys are compared with the headers themselves."""
        items = []
        for group in groups:
            stored = self._first(group)
            if matches(stored.header if stored else Dataset(), self.query.further):
                items.append((stored, group))
        last = self.query.offset + self.query.limit
        shown = [self._describe(*item, describe) for item in items[self.query.offset : last]]
        return self._response(shown, self.query.warnings, len(items) > last)

    def _first(self, group: Group) -> StoredObject | None:
        """Header of the first object that can be read."""
        for item in group:
            try:
                return addresses.open_object(self.parts, item)
            except (NotFound, UnreadableImage):
                continue
        return None

    def _describe(self, stored: StoredObject | None, group: Group, describe: Describe) -> Json:
        header = stored.header if stored else Dataset()
        found: Json = {}
        if stored is not None and self.query.everything:
            whole = metadata_json(stored, "").items()
            found = {key: item for key, item in whole if "BulkDataURI" not in item}
        found |= attributes_json(header, [k for k in self.query.include if k in header])
        found |= describe(header, group, self) | attribute("InstanceAvailability", "ONLINE")
        return dict(sorted(found.items()))

    def _response(self, items: list[Json], warnings: Iterable[str], more: bool) -> Response:
        texts = [*warnings, *(["There are more results; ask on with offset."] if more else [])]
        headers = {"Warning": ", ".join(f'299 oncopixel "{text}"' for text in texts)}
        headers = {k: v.encode("ascii", "replace").decode() for k, v in headers.items() if v}
        if not items:
            return Response(status_code=204, headers=headers)
        return DicomJson(items, headers=headers)


def _study(header: Dataset, group: Group, search: _Search) -> Json:
    uid = group[0].study_instance_uid
    series = {item.series_instance_uid for item in group}
    return {
        **attributes_json(header, _STUDY),
        **attribute("StudyInstanceUID", uid),
        **attribute("ModalitiesInStudy", *sorted({item.modality for item in group})),
        **attribute("NumberOfStudyRelatedSeries", len(series)),
        **attribute("NumberOfStudyRelatedInstances", len(group)),
        **attribute("RetrieveURL", addresses.study_url(search.root, uid)),
    }


def _series(header: Dataset, group: Group, search: _Search) -> Json:
    first = group[0]
    return {
        **attributes_json(header, _SERIES),
        **attribute("Modality", first.modality),
        **attribute("StudyInstanceUID", first.study_instance_uid),
        **attribute("SeriesInstanceUID", first.series_instance_uid),
        **attribute("NumberOfSeriesRelatedInstances", len(group)),
        **attribute("RetrieveURL", addresses.series_url(search.root, first)),
    }


def _instance(header: Dataset, group: Group, search: _Search) -> Json:
    (item,) = group
    return {
        **attributes_json(header, [k for k in _INSTANCE if k in header]),
        **attribute("SOPClassUID", item.sop_class_uid),
        **attribute("SOPInstanceUID", item.sop_instance_uid),
        **attribute("StudyInstanceUID", item.study_instance_uid),
        **attribute("SeriesInstanceUID", item.series_instance_uid),
        **attribute("RetrieveURL", addresses.object_url(search.root, item)),
    }


def _study_and_series(header: Dataset, group: Group, search: _Search) -> Json:
    return attributes_json(header, _STUDY) | _series(header, group, search)


def _series_and_instance(header: Dataset, group: Group, search: _Search) -> Json:
    series = attributes_json(header, _SERIES) | attribute("Modality", group[0].modality)
    return series | _instance(header, group, search)


def _study_series_and_instance(header: Dataset, group: Group, search: _Search) -> Json:
    return attributes_json(header, _STUDY) | _series_and_instance(header, group, search)


def _grouped(held: Group, key: Callable[[HeldObject], str]) -> list[list[HeldObject]]:
    """Objects with the same key together, in the order of the first of each."""
    groups: dict[tuple[str, str], list[HeldObject]] = {}
    for item in held:
        groups.setdefault((item.study_instance_uid, key(item)), []).append(item)
    return list(groups.values())
