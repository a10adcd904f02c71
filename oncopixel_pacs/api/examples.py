"""Examples in the OpenAPI description: one study with one job, seen from every route."""

from __future__ import annotations

from typing import Any

from oncopixel_pacs import RESEARCH_NOTICE

_STUDY = "1.2.826.0.1.3680043.10.1.7"
_IMAGE = f"{_STUDY}.1.1"
_JOB_ID = "5d0c6a1f0f7e4a4f9be0d5a1"
_SEG = "2.25.110381047259312487120934812093481204"

DELIVERY: dict[str, Any] = {
    "destination": "pacs",
    "state": "confirmed",
    "attempts": 1,
    "status": "0x0000",
    "error": "",
    "queued_at": "2026-03-02T09:31:05Z",
    "next_attempt_at": None,
    "finished_at": "2026-03-02T09:31:07Z",
    "retracted_by": "",
    "proof": "storage commitment",
    "confirmed_at": "2026-03-02T09:31:12Z",
    "unconfirmed_at": None,
    "resends": 0,
}
OBJECT: dict[str, Any] = {
    "kind": "seg",
    "sop_instance_uid": _SEG,
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
    "sop_class_name": "Segmentation Storage",
    "series_instance_uid": "2.25.221870345210987345120987345120983",
    "series_description": "OncoPixel lesions R CC (research use only)",
    "size_bytes": 41230,
    "sha256": "9f2c" * 16,
    "form": "binary",
    "deliveries": [DELIVERY],
}
FINDING: dict[str, Any] = {
    "number": 1,
    "tracking_id": "Lesion 1",
    "tracking_uid": "2.25.88120934712093847",
    "probability": 0.83,
    "centre": [1210.0, 604.0],
    "outline": [[1150, 560], [1150, 650], [1270, 650], [1270, 560], [1150, 560]],
    "area_mm2": 108.0,
    "long_axis_mm": 14.9,
    "short_axis_mm": 9.1,
}
SKIP: dict[str, Any] = {
    "model": "lesion-segmenter",
    "task": "segment",
    "reason": "model-pixel-size",
    "sentence": "The pixels are smaller or larger than the model reads.",
    "detail": "It reads 0.05 to 0.2 mm.",
}
CONCEPT: dict[str, Any] = {"value": "393564001", "scheme": "SCT", "meaning": "Glioma"}
CLASS: dict[str, Any] = {
    "name": "glioma",
    "concept": CONCEPT,
    "probability": 0.91,
    "absence": False,
}
TISSUE: dict[str, Any] = {
    "number": 1,
    "name": "necrosis",
    "concept": {"value": "6574001", "scheme": "SCT", "meaning": "Necrosis"},
    "tracking_uid": "2.25.329800735698586629295641978511506172918",
    "share": 0.12,
    "area_mm2": None,
}
PICTURE: dict[str, Any] = {
    "classes": [CLASS],
    "called": "glioma",
    "tissues": [],
    "searched": False,
    "site": {"value": "12738006", "scheme": "SCT", "meaning": "Brain"},
}
IMAGE: dict[str, Any] = {
    "sop_instance_uid": _IMAGE,
    "laterality": "R",
    "view": "CC",
    "rows": 2294,
    "columns": 1914,
    "spacing_mm": [0.1, 0.1],
    "probability": 0.79,
    "reason": None,
    "reason_sentence": "",
    "reason_detail": "",
    "skipped": [],
    "findings": [FINDING],
    "picture": None,
    "overlay": f"/api/v1/jobs/{_JOB_ID}/images/{_IMAGE}/overlay.png",
}
ROUTING: dict[str, Any] = {
    "study_instance_uid": "1.2.826.0.1.3680043.8.498.11",
    "images": [
        {
            "sop_instance_uid": "1.2.826.0.1.3680043.8.498.12",
            "name": "R MLO",
            "modality": "MG",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.2",
            "body_part": "BREAST",
            "manufacturer": "ACME",
            "station_name": "ROOM1",
            "series_description": "R MLO",
            "calling_ae_title": "MAMMO1",
            "called_ae_title": "ONCOPIXEL",
            "models": [
                {
                    "model": "lesion-segmenter",
                    "mode": "active",
                    "task": "segment",
                    "runs": False,
                    "reason": "model-rule",
                    "sentence": "The rule for the model leaves the image out. "
                    "Station name is ROOM1; the rule asks for ROOM2.",
                }
            ],
        }
    ],
}
MODEL: dict[str, Any] = {
    "name": "lesion-segmenter",
    "version": "1.0.0",
    "task": "segment",
    "manufacturer": "OncoPixel",
    "threshold": 0.5,
    "weights_sha256": "3a7b" * 16,
    "preprocessing_sha256": "c041" * 16,
    "configuration_sha256": "5d1e" * 16,
}
RESULT: dict[str, Any] = {
    "notice": RESEARCH_NOTICE,
    "probability": 0.79,
    "breasts": {"R": 0.79},
    "device": "cpu",
    "timings_seconds": {"decode": 0.4, "classify": 1.2, "segment": 2.9},
    "models": [MODEL],
    "images": [IMAGE],
}
STEP: dict[str, Any] = {
    "name": "analyse",
    "state": "done",
    "attempts": 1,
    "started_at": "2026-03-02T09:31:00Z",
    "finished_at": "2026-03-02T09:31:05Z",
    "seconds": 5.0,
    "error": "",
    "detail": {"decode": 0.4, "classify": 1.2, "segment": 2.9},
}
JOB_SUMMARY: dict[str, Any] = {
    "id": _JOB_ID,
    "study_instance_uid": _STUDY,
    "revision": 1,
    "state": "done",
    "created_at": "2026-03-02T09:30:59Z",
    "finished_at": "2026-03-02T09:31:07Z",
    "waiting_for": "",
    "error": "",
    "probability": 0.79,
    "finding_count": 1,
}
JOB: dict[str, Any] = {
    **JOB_SUMMARY,
    "models_digest": "77b1" * 16,
    "sop_instance_uids": [_IMAGE],
    "steps": [STEP],
    "result": RESULT,
    "repairs": ["Patient's Sex is missing and was written empty."],
    "objects": [OBJECT],
}
QUARANTINED: dict[str, Any] = {
    "job_id": _JOB_ID,
    "kind": "seg",
    "sop_instance_uid": _SEG,
    "series_description": "AI SEG R MLO - RESEARCH USE ONLY",
    "size_bytes": 41230,
    "sha256": "9f2c" * 16,
    "path": "quarantine/1c/1c0b6e5d7f2a4b9c8d3e6f7081a2b3c4-9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c.dcm",
    "problems": ["AI SEG R MLO - RESEARCH USE ONLY: Rows differs from its source"],
    "held_at": "2026-03-02T09:31:05Z",
}
UPLOADED_IMAGE: dict[str, Any] = {
    "name": "r-cc.png",
    "outcome": "received",
    "sop_instance_uid": _IMAGE,
    "study_instance_uid": _STUDY,
    "detail": "",
}
UPLOAD_OBJECT: dict[str, Any] = {
    "kind": "seg",
    "sop_instance_uid": _SEG,
    "series_description": "OncoPixel lesions R CC (research use only)",
    "size_bytes": 41230,
    "href": f"/api/v1/jobs/{_JOB_ID}/objects/{_SEG}",
}
UPLOAD_STUDY: dict[str, Any] = {
    "study_instance_uid": _STUDY,
    "state": "done",
    "reason": "",
    "job_id": _JOB_ID,
    "result": RESULT,
    "objects": [UPLOAD_OBJECT],
}
UPLOAD: dict[str, Any] = {
    "notice": RESEARCH_NOTICE,
    "id": "8f1d04c2b7a95e6310fa22cd",
    "state": "done",
    "created_at": "2026-03-02T09:30:50Z",
    "href": "/api/v1/uploads/8f1d04c2b7a95e6310fa22cd",
    "page": "/uploads/8f1d04c2b7a95e6310fa22cd",
    "images": [UPLOADED_IMAGE],
    "studies": [UPLOAD_STUDY],
}
HEADER: dict[str, Any] = {
    "patient_name": "EXAMPLE^JANE",
    "patient_id": "P-0007",
    "description": "Screening mammogram",
    "accession_number": "A-1207",
    "study_date": "20260302",
}
INSTANCE: dict[str, Any] = {
    "sop_instance_uid": _IMAGE,
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.2",
    "series_instance_uid": f"{_STUDY}.1",
    "laterality": "R",
    "view": "CC",
    "rows": 2294,
    "columns": 1914,
    "size_bytes": 8784532,
    "received_at": "2026-03-02T09:30:50Z",
    "calling_ae_title": "MAMMO1",
}
STUDY_SUMMARY: dict[str, Any] = {
    "study_instance_uid": _STUDY,
    "state": "settled",
    "revision": 1,
    "image_count": 1,
    "views": ["R CC"],
    "waiting_for": "",
    "declared_complete": False,
    "conflicts": 0,
    "first_received_at": "2026-03-02T09:30:50Z",
    "last_received_at": "2026-03-02T09:30:50Z",
    "header": HEADER,
    "latest_job": JOB_SUMMARY,
}
STUDY: dict[str, Any] = {**STUDY_SUMMARY, "instances": [INSTANCE], "jobs": [JOB_SUMMARY]}
PROBLEM_DELIVERY: dict[str, Any] = {
    "job_id": _JOB_ID,
    "since": "2026-03-02T09:30:59Z",
    "sop_instance_uid": _SEG,
    "state": "queued",
    "status": "",
    "error": "pacs (ARCHIVE at 10.0.0.5 port 104): nothing listens there.",
}
CIRCUIT: dict[str, Any] = {
    "open": False,
    "failures": 0,
    "opened_at": None,
    "next_probe_at": None,
    "reason": "",
}
BACKLOG: dict[str, Any] = {
    "waiting": 2,
    "oldest_queued_at": "2026-03-02T09:31:05Z",
    "oldest_age_seconds": 84.2,
    "next_attempt_at": "2026-03-02T09:32:41Z",
    "circuit": CIRCUIT,
}
DESTINATION: dict[str, Any] = {
    "name": "pacs",
    "type": "cstore",
    "address": "ARCHIVE@10.0.0.5:104",
    "objects": ["seg", "sr"],
    "configured": True,
    "deliveries": {"queued": 2, "sending": 0, "accepted": 118, "confirmed": 0, "failed": 0},
    "backlog": BACKLOG,
    "oldest_problem": PROBLEM_DELIVERY,
}
PEER: dict[str, Any] = {
    "id": 3,
    "origin": "allowed",
    "ae_title": "MAMMO1",
    "address": "10.0.0.21",
    "port": 104,
    "tls": False,
    "certificate_sha256": [],
    "allowed_at": "2026-03-02T09:30:00Z",
}
REJECTED_CALLER: dict[str, Any] = {
    "id": 8,
    "calling_ae_title": "MAMMO2",
    "called_ae_title": "ONCOPIXEL",
    "address": "10.0.0.22",
    "certificate_sha256": "",
    "reason": "Calling AE title not recognised: it is not among the peers",
    "may_be_allowed": True,
    "first_at": "2026-03-02T09:12:40Z",
    "last_at": "2026-03-02T09:27:41Z",
    "count": 4,
}
CHECKS: list[dict[str, Any]] = [
    {"name": "database", "ok": True, "detail": "takes writes"},
    {"name": "disk", "ok": True, "detail": "takes files, 212.4 GiB free"},
    {"name": "models", "ok": True, "detail": "loaded"},
    {
        "name": "certificate",
        "ok": True,
        "detail": "CN=oncopixel.hospital.example, valid until 2027-02-28, 362 days",
    },
]
ROOT: dict[str, Any] = {
    "product": "OncoPixel PACS",
    "version": "0.1.0",
    "notice": RESEARCH_NOTICE,
    "started_at": "2026-03-02T08:00:00Z",
    "links": {"studies": "/api/v1/studies", "openapi": "/openapi.json"},
}
HUNG_VIEW: dict[str, Any] = {
    "sop_instance_uid": _IMAGE,
    "name": "R CC",
    "laterality": "R",
    "view": "CC",
    "rows": 2294,
    "columns": 1914,
    "column_per_row": 1.0,
    "mirror": False,
    "upside_down": False,
    "window_centre": 2048.0,
    "window_width": 4096.0,
    "picture": f"/dicom-web/studies/{_STUDY}/series/{_STUDY}.1/instances/{_IMAGE}/rendered",
    "probability": 0.87,
    "reason": "",
    "findings": [FINDING],
    "answer": None,
    "overlay": None,
}
BUCKET: dict[str, Any] = {"start": "2025-03-01T12:00:00Z", "received": 9, "done": 8, "troubled": 1}
OVERVIEW: dict[str, Any] = {
    "span": "day",
    "buckets": [BUCKET],
    "studies": {"receiving": 1, "settled": 412},
    "jobs": {"queued": 1, "done": 409, "failed": 2},
    "waiting": 1,
    "oldest_waiting_since": "2025-03-01T12:01:00Z",
    "free_bytes": 220117073920,
    "models_ready": True,
    "device": "cpu",
    "alarms": [],
}
ALARM: dict[str, Any] = {
    "subject": "pacs",
    "said": "pacs (ARCHIVE at 192.0.2.10 port 104): nothing listens there.",
    "page": "/destinations",
}
DRIFT: dict[str, Any] = {
    "verdict": "stable",
    "reference": 1000,
    "window": 400,
    "psi": 0.03,
    "ks": 0.05,
    "ks_p": 0.41,
}
SENDER: dict[str, Any] = {
    "sender": "MAMMO1",
    "studies": 1400,
    "since": "2025-03-01T12:00:00Z",
    "histogram": [70] * 20,
    "scores": DRIFT,
    "views": {**DRIFT, "psi": 0.001, "ks": None, "ks_p": None},
}
STUDY_CHANGE: dict[str, Any] = {"study_instance_uid": _STUDY}
PULL_REQUEST: dict[str, Any] = {"study_instance_uid": _STUDY, "source": "archive"}
PULL: dict[str, Any] = {
    "id": "0c4be7d12a5f4f6b8e9d7a31",
    "study_instance_uid": _STUDY,
    "source": "archive",
    "state": "running",
    "expected": 4,
    "received": 3,
    "attempts": 1,
    "error": "",
    "created_at": "2026-03-02T09:30:40Z",
    "next_attempt_at": None,
    "finished_at": None,
}
SOURCE: dict[str, Any] = {
    "name": "archive",
    "type": "cmove",
    "address": "ARCHIVE_QR@10.0.0.5:104",
}
