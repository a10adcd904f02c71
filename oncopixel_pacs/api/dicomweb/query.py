"""What a search asks for (PS3.18 8.3.4, PS3.4 C.2.2.2)."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from starlette.datastructures import QueryParams

from oncopixel_pacs.store.search import Criteria

#: Results that one answer holds at most.
MOST_RESULTS = 500
#: Studies, or what is in all of them, unless more are asked for.
USUAL_RESULTS = 100
_TEXTS = {
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "AccessionNumber": "accession_number",
    "StudyID": "study_id",
    "StudyDescription": "study_description",
    "ReferringPhysicianName": "referring_physician_name",
}
_RANGES = {"StudyDate": "study_date", "StudyTime": "study_time"}
_LISTS = {
    "StudyInstanceUID": "study_instance_uids",
    "SeriesInstanceUID": "series_instance_uids",
    "SOPInstanceUID": "sop_instance_uids",
    "SOPClassUID": "sop_class_uids",
    "Modality": "modalities",
    "ModalitiesInStudy": "modalities_in_study",
}
#: Keys that any search is answered by from the database.
INDEXED_KEYS = frozenset({*_TEXTS, *_RANGES, *_LISTS})
_NO_KEYS = frozenset({"limit", "offset", "includefield", "fuzzymatching", "accept", "charset"})
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2,6}(\.\d{1,6})?")
#: What one value of a range is, by Value Representation.
_RANGE_VALUES = {"DA": _DATE, "TM": _TIME}


@dataclass(frozen=True, slots=True)
class Query:
    """One search.

    Attributes
    ----------
    further
        Keys that the database does not know, by keyword; they can be compared with headers.
    include
        Keywords that are to be in the answer besides what always is.
    everything
        Whether every attribute is to be in the answer.
    warnings
        Sentences that the client is to be told.
    """

    criteria: Criteria
    further: Mapping[str, str]
    include: tuple[str, ...]
    everything: bool
    limit: int
    offset: int
    warnings: tuple[str, ...]


def read_query(parameters: QueryParams, path: Mapping[str, str]) -> Query:
    """Read the parameters of a search below a path.

    Parameters
    ----------
    path
        UIDs that the path names, by keyword; they win over parameters.

    Raises
    ------
    HTTPException
        400 when a value is none that its key can have.
    """
    known: dict[str, Any] = {"texts": {}, "ranges": {}}
    further: dict[str, str] = {}
    warnings: list[str] = []
    for name, value in (*_keys(parameters), *path.items()):
        keyword = _keyword(name)
        if keyword is None:
            warnings.append(f"{name} is not a key that can be matched and was ignored.")
        elif value in ("", "*"):
            continue  # universal matching
        elif keyword in _TEXTS:
            known["texts"][_TEXTS[keyword]] = value
        elif keyword in _RANGES:
            known["ranges"][_RANGES[keyword]] = _range(keyword, value)
        elif keyword in _LISTS:
            given = () if keyword in path else known.get(_LISTS[keyword], ())
            known[_LISTS[keyword]] = (*given, *_list(value))
        else:
            if path and _representation(keyword) in _RANGE_VALUES:
                _range(keyword, value)  # refuses what is none
            further[keyword] = value
    if parameters.get("fuzzymatching") == "true":
        warnings.append("Fuzzy matching is not supported; only literal matching was performed.")
    include, everything = _include(parameters.getlist("includefield"))
    return Query(
        criteria=Criteria(**known),
        further=further,
        include=include,
        everything=everything,
        limit=min(
            _number(parameters, "limit", MOST_RESULTS if path else USUAL_RESULTS), MOST_RESULTS
        ),
        offset=_number(parameters, "offset", 0),
        warnings=tuple(warnings),
    )


def matches(header: Dataset, further: Mapping[str, str]) -> bool:
    """Whether a header has values that fit, as their Value Representation has it.

    Of dates and times a range, of UIDs a list, else wildcards, for which small letters do not
    count.
    """
    for keyword, wanted in further.items():
        values = header.get(keyword)
        single = isinstance(values, str) or not isinstance(values, Iterable)
        texts = [str(text).strip() for text in ([values] if single else values) if text is not None]
        fits = _matcher(keyword, wanted)
        if not any(fits(text) for text in texts):
            return False
    return True


def _matcher(keyword: str, wanted: str) -> Callable[[str], bool]:
    representation = _representation(keyword)
    if representation in _RANGE_VALUES:
        first, last = _range(keyword, wanted)
        # 10:15 is the whole minute, as it is for the keys of the database.
        return lambda text: text != "" and first <= text and (not last or text <= last + "~")
    if representation == "UI":
        uids = _list(wanted)
        return lambda text: text in uids
    pattern = re.compile(fnmatch.translate(wanted.replace("[", "[[]")), re.IGNORECASE)
    return lambda text: pattern.fullmatch(text) is not None


def _representation(keyword: str) -> str:
    return dictionary_VR(keyword).partition(" ")[0]


def _keys(parameters: QueryParams) -> Iterator[tuple[str, str]]:
    for name, value in parameters.multi_items():
        if name.lower() not in _NO_KEYS:
            yield name, value.replace("\0", "")


def _keyword(name: str) -> str | None:
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        tag = int(name, 16)
        return keyword_for_tag(tag) or None if dictionary_has_tag(tag) else None
    return name if tag_for_keyword(name) is not None else None


def _list(value: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in re.split(r"[,\\]", value) if item.strip())


def _range(keyword: str, value: str) -> tuple[str, str]:
    kind = _RANGE_VALUES[_representation(keyword)]
    first, dash, last = value.replace(":", "").partition("-")
    if not dash:
        last = first
    if not (first or last) or any(item and not kind.fullmatch(item) for item in (first, last)):
        raise HTTPException(400, f"{keyword} is one value or a range such as A-B, A- or -B.")
    return first, last


def _include(fields: list[str]) -> tuple[tuple[str, ...], bool]:
    names = [name.strip() for field in fields for name in field.split(",") if name.strip()]
    keywords = (_keyword(name.partition(".")[0]) for name in names)
    return tuple(name for name in keywords if name), "all" in names


def _number(parameters: QueryParams, name: str, default: int) -> int:
    text = parameters.get(name) or str(default)
    if not re.fullmatch(r"\d{1,9}", text):
        raise HTTPException(400, f"{name} is a whole number, zero or more.")
    return int(text)
