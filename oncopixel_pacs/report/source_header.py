"""The header of a source image, repaired in a copy so that results can be written from it.

Modalities write headers that break the rules: missing Type 2 attributes, dates that are no
dates, unknown character sets, a Frame of Reference without geometry. A result object copies
patient and study attributes from its source and must be valid all the same. What is kept is a
positive list; all else, private attributes included, is left out.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.header_values import Cleaner
from oncopixel_pacs.report.source_file import MALFORMED, parse_header
from oncopixel_pacs.report.source_text import TextDecoder

TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Patient and General Study attributes that must be there, empty when unknown (PS3.3 C.7)."""

_PATIENT_AND_STUDY = (
    *TYPE_2,
    "IssuerOfPatientID",
    "PatientBirthTime",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "QualityControlSubject",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyInstanceUID",
    "StudyDescription",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "RequestingService",
    "ProcedureCodeSequence",
    "ReferencedStudySequence",
    "AdmittingDiagnosesDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "Occupation",
    "AdditionalPatientHistory",
    "AdmissionID",
    "ServiceEpisodeID",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
_IMAGE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "TimezoneOffsetFromUTC",
    "ContentDate",
    "ContentTime",
    "PatientOrientation",
    "ImageLaterality",
    "BodyPartThickness",
    "RequestAttributesSequence",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_NUMBERS = ("Rows", "Columns")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_TRIAL = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialSubjectID")
_TRIAL_TYPE_2 = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
_REQUIRED_IN_ITEM = {
    "ReferencedStudySequence": ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"),
    "OtherPatientIDsSequence": ("PatientID", "TypeOfPatientID"),
}
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
# Of a code: where it was chosen from, which units leave half unsaid (PS3.3 8.3).
_CONTEXT_OF_CODE = frozenset(
    {
        "ContextIdentifier",
        "ContextUID",
        "ContextGroupVersion",
        "ContextGroupExtensionFlag",
        "ContextGroupLocalVersion",
        "ContextGroupExtensionCreatorUID",
        "MappingResource",
        "MappingResourceUID",
        "MappingResourceName",
    }
)
_NO_TEXT = frozenset({"US", "OB", "OW", "UN", "FL", "FD", "AT", "UL", "SS"})
_DIRECTION = re.compile("[LRAPHF]{1,3}")


@dataclass(frozen=True, slots=True)
class SourceHeader:
    """Header of a source image as results use it.

    Attributes
    ----------
    dataset
        Repaired attributes, text as `str`, without pixel data.
    character_set
        Specific Character Set (0008,0005) in which results of this source are written: the
        source's own when its text survives the way there and back, else ``ISO_IR 192``.
    repairs
        What was changed, one sentence each, without values.
    """

    dataset: Dataset
    character_set: tuple[str, ...]
    repairs: tuple[str, ...]

    def anonymous(self) -> Dataset:
        """Copy without patient: the writing library warns about names, names included."""
        header = copy.deepcopy(self.dataset)
        for keyword in _PATIENT_AND_STUDY:
            if keyword in header and keyword != "StudyInstanceUID":
                del header[keyword]
        for keyword in TYPE_2:
            setattr(header, keyword, None)
        return header

    def adopt(self, dataset: Dataset) -> None:
        """Give a result object patient, study, request and character set of this source."""
        for keyword in _PATIENT_AND_STUDY:
            if keyword in self.dataset:
                dataset[keyword] = copy.deepcopy(self.dataset[keyword])
        dataset.SpecificCharacterSet = list(self.character_set)


def read_source(path: Path) -> SourceHeader:
    """Read the header of a Part 10 file and repair it in a copy.

    Raises
    ------
    ResultRejected
        When the file cannot be read, or lacks a UID or its size.
    """
    raw = _parse(path)
    decoder = TextDecoder.for_terms(_character_set_terms(raw))
    cleaner = Cleaner(decoder)
    header = Dataset()
    for keyword in (*_PATIENT_AND_STUDY, *_IMAGE):
        _copy(raw, keyword, header, cleaner)
    for keyword in _NUMBERS:
        number = _number(raw, keyword)
        if number is None:
            raise ResultRejected(f"A source image has no {keyword}; results need the image's size.")
        setattr(header, keyword, number)
    missing = [keyword for keyword in _UIDS if not header.get(keyword)]
    if missing:
        raise ResultRejected(f"A source image has no valid {missing[0]}; results cannot name it.")
    _complete(raw, header, cleaner)
    # Text is `str` from here on, so any character set that holds it will do.
    header.SpecificCharacterSet = "ISO_IR 192"
    return SourceHeader(header, decoder.result_character_set, (*cleaner.repairs, *decoder.repairs))


def source_of_result(result: Dataset) -> SourceHeader:
    """Give patient, study, request and time zone of a result of ours, as its source had them."""
    header = Dataset()
    for keyword in (*_PATIENT_AND_STUDY, "TimezoneOffsetFromUTC"):
        if keyword in result:
            header[keyword] = copy.deepcopy(result[keyword])
    if requests := result.get("ReferencedRequestSequence"):
        header.RequestAttributesSequence = copy.deepcopy(requests)
    return SourceHeader(header, _character_set_terms(result), ())


def _parse(path: Path) -> Dataset:
    """Parse without conversion of text; sequences and numbers are converted where they can be."""
    with warnings.catch_warnings():
        # Complaints about values that are repaired or left out anyway.
        warnings.simplefilter("ignore")
        raw = parse_header(path)
        for keyword in (*_PATIENT_AND_STUDY, *_IMAGE, *_NUMBERS):
            tag = _tag(keyword)
            if tag in raw and (dictionary_VR(tag) == "SQ" or keyword in _NUMBERS):
                _convert(raw, tag)
        return raw


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None  # noqa: S101 - the tables above hold keywords of the dictionary
    return tag


def _convert(raw: Dataset, tag: int) -> None:
    try:
        value = raw[tag].value
        for item in value if dictionary_VR(tag) == "SQ" else ():
            for inner in list(item.keys()):
                if inner.is_private or not keyword_for_tag(inner):
                    del item[inner]
                elif dictionary_VR(inner) == "SQ":
                    _convert(item, inner)
    except MALFORMED:
        del raw[tag]


def _character_set_terms(raw: Dataset) -> tuple[str, ...]:
    element = raw.get_item(0x00080005)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="replace")
    if isinstance(value, str):
        value = value.split("\\")
    return tuple(str(term).strip(" \0") for term in value or ())


def _copy(raw: Dataset, keyword: str, header: Dataset, cleaner: Cleaner) -> None:
    tag = _tag(keyword)
    element = raw.get_item(tag)
    if element is None or element.value is None:
        return
    vr = dictionary_VR(tag)
    if vr == "SQ":
        items = list(_clean_items(keyword, element.value, cleaner))
        if items:
            setattr(header, keyword, items)
        elif element.value:
            cleaner.note(keyword, "held no valid item and was left out")
        return
    value = cleaner.value(keyword, vr, element.value)
    if value:
        header.add(DataElement(tag, vr, value))


def _clean_items(keyword: str, items: Iterable[Dataset], cleaner: Cleaner) -> Iterable[Dataset]:
    for item in items:
        clean = Dataset()
        for tag in list(item.keys()):  # noqa: SIM118 - iteration gives elements
            part = keyword_for_tag(tag)
            if dictionary_VR(tag) in _NO_TEXT or part in _CONTEXT_OF_CODE:
                continue
            _copy(item, part, clean, cleaner)
        required: tuple[str, ...] = _REQUIRED_IN_ITEM.get(keyword, ())
        if any(part in clean for part in _CODE):
            required = _CODE
        if len(clean) and all(clean.get(part) for part in required):
            yield clean


def _number(raw: Dataset, keyword: str) -> int | None:
    value = raw[keyword].value if keyword in raw else None
    return int(value) if isinstance(value, int) and value > 0 else None


def _complete(raw: Dataset, header: Dataset, cleaner: Cleaner) -> None:
    """Fill Type 2 attributes; leave out what is valid only together with what is missing."""
    for keyword in TYPE_2:
        if keyword not in header:
            if keyword not in raw:
                cleaner.note(keyword, "is missing and was written empty")
            setattr(header, keyword, "")
    directions = header.get("PatientOrientation") or ()
    if len(directions) != 2:
        header.PatientOrientation = []
        cleaner.note("PatientOrientation", "is missing and was written empty")
    elif not all(map(_DIRECTION.fullmatch, directions)):
        header.PatientOrientation = []
        cleaner.note("PatientOrientation", "held a value that is not allowed, which was dropped")
    trial = [element for element in header if element.keyword.startswith("ClinicalTrial")]
    if trial and not all(header.get(keyword) for keyword in _TRIAL):
        for element in trial:
            del header[element.tag]
        cleaner.note("ClinicalTrialProtocolID", "is incomplete, so the trial was left out")
    elif trial:
        for keyword in _TRIAL_TYPE_2:
            if keyword not in header:
                setattr(header, keyword, "")
    _complete_deidentification(header, cleaner)
    if "FrameOfReferenceUID" in raw:
        cleaner.note("FrameOfReferenceUID", "was left out: a projection has no plane in it")


def _complete_deidentification(header: Dataset, cleaner: Cleaner) -> None:
    """Say that the method is unknown where it must stand and the source leaves it out (C.7.1.1).

    Collections for research are full of images that say only that the identity was removed.
    """
    methods = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if header.get("PatientIdentityRemoved") == "YES" and not any(map(header.get, methods)):
        header.DeidentificationMethod = "Not stated in the source image"
        cleaner.note("DeidentificationMethod", "is missing and was written as not stated")
