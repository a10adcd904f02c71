"""What a job found, as a FHIR R4 transaction: ImagingStudy, Observations, DiagnosticReport (beta).

Every resource is created only where none has its identifier, so that the same transaction may
arrive twice. What an earlier job of the study said is withdrawn; what the job itself said before it
was read again is replaced. The patient is named by the ID of
the images alone, as a logical reference: we hold no Patient. Codes are those of the structured
report; what has a code of our own is told by name.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from pydicom.sr.coding import Code

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import Job, ObjectKind, Study, StudyResult
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.sentences import outcome, sentences

Resource = dict[str, Any]

_SYSTEMS: Mapping[str, str] = MappingProxyType(
    {
        "DCM": "http://dicom.nema.org/resources/ontology/DCM",
        "SCT": "http://snomed.info/sct",
        "LN": "http://loinc.org",
        "RADLEX": "http://radlex.org",
    }
)
_UCUM = "http://unitsofmeasure.org"
_DICOM_UID = "urn:dicom:uid"
_MODALITIES: Mapping[ObjectKind, str] = MappingProxyType(
    {
        ObjectKind.SEG: "SEG",
        ObjectKind.SR: "SR",
        ObjectKind.CAD_SR: "SR",
        ObjectKind.SC: "OT",
        ObjectKind.GSPS: "PR",
        ObjectKind.KOS: "KO",
        ObjectKind.PDF: "DOC",
    }
)
_IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic imaging study")


def fhir_transaction(
    job: Job,
    study: Study,
    patient_system: str,
    earlier: Iterable[tuple[Job, int]] = (),
    before: int | None = None,
) -> Resource:
    """Write the transaction of a job that has a result.

    Parameters
    ----------
    job
        One that is done.
    study
        Its study, for the patient's ID and the series of the images.
    patient_system
        URI of who gave the patient the ID; empty when it is not known.
    earlier
        Jobs of the study whose results no longer hold, each with the number of its Observations.
    before
        Number of Observations that were told of this job when it said something else; ``None``
        where that was not so.

    Returns
    -------
    dict
        A Bundle of FHIR R4 (4.0.1), ready for JSON.

    Raises
    ------
    ValueError
        When the job has no result.
    """
    if job.result is None:
        raise ValueError(f"Job {job.id} has no result.")
    subject = _subject(study, patient_system)
    imaging = _entry(_imaging_study(job, study, subject), study.study_instance_uid)
    observations = [
        _entry(
            {**item, "derivedFrom": [{"reference": imaging["fullUrl"]}]},
            uid,
            replaces=before is not None,
        )
        for uid, item in _observations(job, job.result, subject)
    ]
    report = _diagnostic_report(
        job,
        job.result,
        study,
        subject,
        imaging["fullUrl"],
        [item["fullUrl"] for item in observations],
    )
    closing = _entry(report, _report_uid(job), replaces=before is not None)
    left_over = _withdrawn_observations(job, len(observations), before or 0)
    return _bundle(imaging, *observations, closing, *left_over, *_withdrawn(earlier))


def content_of(job: Job) -> tuple[int, str]:
    """Count the Observations of a job that has a result, and give a digest of what is said."""
    if job.result is None:
        raise ValueError(f"Job {job.id} has no result.")
    statements = list(_statements(job.result))
    said = json.dumps([statements, _conclusion(job, job.result)], sort_keys=True)
    return len(statements), hashlib.sha256(said.encode()).hexdigest()


def fhir_withdrawal(earlier: Iterable[tuple[Job, int]]) -> Resource:
    """Write the transaction of a job without a result, where something was told before.

    Parameters
    ----------
    earlier
        Jobs whose results no longer hold, each with the number of its Observations.

    Returns
    -------
    dict
        A Bundle of FHIR R4 (4.0.1), ready for JSON.
    """
    return _bundle(*_withdrawn(earlier))


def _bundle(*entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def _withdrawn(earlier: Iterable[tuple[Job, int]]) -> Iterator[Resource]:
    """Mark what was told of jobs as entered in error; it names no patient any more.

    What is there is replaced, since it may name the wrong patient. What never arrived is made so,
    so that an attempt of before that is still to come creates nothing.
    """
    for job, observations in earlier:
        yield from _withdrawn_observations(job, 0, observations)
        yield _withdrawal(_report_uid(job), "DiagnosticReport", _coded(_IMAGING_REPORT))


def _withdrawn_observations(job: Job, first: int, end: int) -> Iterator[Resource]:
    """Mark those from `first` up to but not including `end`, counted from 0."""
    known = [said["code"] for said in _statements(job.result)] if job.result else []
    for index in range(first, end):
        code = known[index] if index < len(known) else {"text": "Withdrawn"}
        yield _withdrawal(_observation_uid(job, index + 1), "Observation", code)


def _withdrawal(uid: str, kind: str, code: Resource) -> Resource:
    withdrawn = {"resourceType": kind, "status": "entered-in-error", "code": code}
    return _entry(withdrawn, uid, replaces=True)


def _diagnostic_report(
    job: Job,
    result: StudyResult,
    study: Study,
    subject: Resource,
    imaging: str,
    observations: list[str],
) -> Resource:
    return {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "category": [
            _concept("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology"),
        ],
        "code": _coded(_IMAGING_REPORT),
        "subject": subject,
        **_when(study),
        "issued": (job.finished_at or job.created_at).astimezone(UTC).isoformat(),
        "imagingStudy": [{"reference": imaging}],
        # An empty list is no valid JSON of FHIR.
        **({"result": [{"reference": item} for item in observations]} if observations else {}),
        "conclusion": _conclusion(job, result),
        "conclusionCode": [_coded(outcome(result))],
    }


def _imaging_study(job: Job, study: Study, subject: Resource) -> Resource:
    series: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    wanted = set(job.sop_instance_uids)
    for instance in study.instances:
        facts = instance.facts
        if facts.sop_instance_uid in wanted:
            key = (facts.series_instance_uid, facts.modality or "OT")
            series[key].append((facts.sop_instance_uid, facts.sop_class_uid))
    for item in job.current:
        if item.kind in _MODALITIES:
            key = (item.series_instance_uid, _MODALITIES[item.kind])
            series[key].append((item.sop_instance_uid, item.sop_class_uid))
    return {
        "resourceType": "ImagingStudy",
        "status": "available",
        "subject": subject,
        "series": [
            {
                "uid": uid,
                "modality": {"system": _SYSTEMS["DCM"], "code": modality},
                "instance": [
                    {
                        "uid": sop_uid,
                        "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{sop_class}"},
                    }
                    for sop_uid, sop_class in sorted(found)
                ],
            }
            for (uid, modality), found in sorted(series.items())
        ],
    }


def _observations(
    job: Job, result: StudyResult, subject: Resource
) -> Iterator[tuple[str, Resource]]:
    """Yield UID and content of each observation: breasts, findings, and classes of pictures."""
    frame = {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [
            _concept(
                "http://terminology.hl7.org/CodeSystem/observation-category", "imaging", "Imaging"
            )
        ],
        "subject": subject,
        "issued": (job.finished_at or job.created_at).astimezone(UTC).isoformat(),
        "device": {
            "display": ", ".join(f"{item.name} {item.version}" for item in result.algorithms)
        },
        "note": [{"text": RESEARCH_NOTICE}],
    }
    for number, said in enumerate(_statements(result), 1):
        yield _observation_uid(job, number), frame | said


def _statements(result: StudyResult) -> Iterator[Resource]:
    for laterality, probability in sorted(result.breasts.items()):
        yield {
            "code": _coded(codes.PROBABILITY_OF_CANCER),
            "bodySite": _coded(codes.SIDED_BREASTS[laterality]),
            "valueQuantity": _percent(probability),
        }
    for image, finding in result.findings:
        yield {
            "code": _coded(codes.PROBABILITY_OF_CANCER),
            "focus": [{"display": f"lesion candidate {finding.tracking_id}"}],
            "bodySite": _coded(
                codes.BREAST
                if image.facts.laterality is None
                else codes.SIDED_BREASTS[image.facts.laterality]
            ),
            "valueQuantity": _percent(finding.probability),
        }
    for image in result.images:
        answer = image.picture
        if answer is None:
            continue
        site = {} if answer.site is None else {"bodySite": _coded(codes.code_of(answer.site))}
        if answer.call is not None:
            yield {
                "code": _coded(codes.FINDING),
                **site,
                "valueCodeableConcept": _coded(codes.code_of(answer.call.concept)),
                "component": [
                    {
                        "code": _coded(codes.code_of(item.concept)),
                        "valueQuantity": _percent(item.probability),
                    }
                    for item in answer.classes
                ],
            }
        for tissue in answer.tissues:
            yield {
                "code": _coded(codes.code_of(tissue.concept)),
                **site,
                "valueQuantity": _percent(tissue.share),
            }


def _conclusion(job: Job, result: StudyResult) -> str:
    said = list(sentences(result))
    if job.revision > 1:
        said.insert(1, f"Revision {job.revision}; it replaces what was reported before.")
    return " ".join(said)


def _report_uid(job: Job) -> str:
    return derive_uid("fhir report", job.id)


def _observation_uid(job: Job, number: int) -> str:
    return derive_uid("fhir observation", job.id, str(number))


def _entry(resource: Resource, uid: str, *, replaces: bool = False) -> Resource:
    """Create a resource where none has its identifier, or put it in the place of that one."""
    identifier = {"system": _DICOM_UID, "value": f"urn:oid:{uid}"}
    known = f"identifier={_DICOM_UID}|urn:oid:{uid}"
    # DiagnosticReport and Observation have lists of identifiers, as ImagingStudy does.
    kind = resource["resourceType"]
    return {
        "fullUrl": uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {uid}").urn,
        "resource": {**resource, "identifier": [identifier]},
        "request": (
            {"method": "PUT", "url": f"{kind}?{known}"}
            if replaces
            else {"method": "POST", "url": kind, "ifNoneExist": known}
        ),
    }


def _subject(study: Study, patient_system: str) -> Resource:
    patient_id = study.header.patient_id.strip()
    if not patient_id:
        return {"display": "unknown patient"}
    system = {"system": patient_system} if patient_system else {}
    return {"type": "Patient", "identifier": {**system, "value": patient_id}}


def _when(study: Study) -> Resource:
    try:
        day = datetime.strptime(study.header.study_date, "%Y%m%d").date()  # noqa: DTZ007 - a date
    except ValueError:
        return {}
    return {"effectiveDateTime": day.isoformat()}


def _coded(code: Code) -> Resource:
    system = _SYSTEMS.get(code.scheme_designator)
    if system is None:
        return {"text": code.meaning}
    return {**_concept(system, code.value, code.meaning), "text": code.meaning}


def _concept(system: str, value: str, meaning: str) -> Resource:
    return {"coding": [{"system": system, "code": value, "display": meaning}]}


def _percent(share: float) -> Resource:
    return {"value": round(100 * share, 3), "unit": "%", "system": _UCUM, "code": "%"}
