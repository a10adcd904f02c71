"""A real archive takes every kind of result object, in every form, as it is."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from dimse_builder import free_port
from pydicom import dcmread

from oncopixel_pacs.deliver import OutgoingObject, send
from oncopixel_pacs.demo.archives import OrthancArchive
from oncopixel_pacs.domain import ObjectKind, SegmentationForm
from oncopixel_pacs.report.result_objects import build_retraction
from oncopixel_pacs.settings import CStoreDestination
from tests.report_builders import FOUR_VIEWS, PROVENANCE, STUDY_UID, case

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/bin")
CHOSEN = tuple(kind for kind in ObjectKind if kind is not ObjectKind.REJECTION)


@pytest.mark.orthanc
@pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed")
def test_orthanc_takes_and_gives_back_every_kind_and_form(tmp_path: Path) -> None:
    study = case(tmp_path, dict.fromkeys(FOUR_VIEWS[:2], 1))
    built = list(study.build(wanted=CHOSEN, forms=tuple(SegmentationForm)))
    stale = [built[-1].dataset]
    built.append(build_retraction(study.result, study.paths, stale, PROVENANCE, lambda _: None))
    assert {item.kind for item in built} == set(ObjectKind)
    out = []
    for number, item in enumerate(built):
        path = tmp_path / f"result-{number}.dcm"
        path.write_bytes(item.part10)
        out.append(OutgoingObject(item.sop_instance_uid, item.sop_class_uid, path))
    archive = OrthancArchive(
        str(ORTHANC), tmp_path / "archive", "ARCHIVE", free_port(), free_port()
    )
    archive.start()
    try:
        target = CStoreDestination(
            type="cstore", name="pacs", host="127.0.0.1", port=archive.port, ae_title="ARCHIVE"
        )
        outcomes = list(send(out, target, calling_ae_title="ONCOPIXEL", timeout_seconds=20))
        fetched = {
            str(dataset.SOPInstanceUID): dataset
            for dataset in map(dcmread, archive.fetch(STUDY_UID, tmp_path / "fetched"))
        }
    finally:
        archive.stop()
    assert [(item.accepted, item.error) for item in outcomes] == [(True, "")] * len(built)
    assert fetched.keys() == {item.sop_instance_uid for item in built}
    for item in built:
        assert fetched[item.sop_instance_uid] == dcmread(io.BytesIO(item.part10)), item.kind
