"""Key objects: the images with findings and what was made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oncopixel_pacs.domain import Laterality, ObjectKind, View
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.key_object_rules import selected_uids
from oncopixel_pacs.report.key_objects import build_key_objects
from oncopixel_pacs.report.segmentation import ObjectUids
from tests.report_builders import FOUR_VIEWS, PROVENANCE, case

KOS, SC, GSPS = ObjectKind.KOS, ObjectKind.SC, ObjectKind.GSPS
RIGHT_MLO, LEFT_CC = (Laterality.RIGHT, View.MLO), (Laterality.LEFT, View.CC)
FINDINGS = {**dict.fromkeys(FOUR_VIEWS, 0), RIGHT_MLO: 2, LEFT_CC: 1}


def test_it_selects_images_with_findings_and_what_was_made_of_them(tmp_path: Path) -> None:
    study = case(tmp_path, FINDINGS)
    built = study.build(wanted=tuple(ObjectKind))
    *others, selection = built
    assert selection.kind is KOS
    selected = selected_uids(selection.dataset)
    images = {i.facts.sop_instance_uid for i in study.result.images if i.findings}
    expected = {
        item.sop_instance_uid
        for item in others
        if "R MLO" in item.series_description
        or "L CC" in item.series_description
        or "REPORT" in item.series_description
    }
    assert selected == images | expected
    assert len(selected) == 2 + 2 * 3 + 1


def test_it_says_which_images_and_that_it_is_for_research(tmp_path: Path) -> None:
    dataset = case(tmp_path, FINDINGS).one(KOS).dataset
    (said,) = (i.TextValue for i in dataset.ContentSequence if "Key Object" in _name(i))
    assert said == (
        "Research use only. Not for diagnosis. Images with lesion candidates: L CC (1), R MLO (2)."
    ) or said.endswith("R MLO (2), L CC (1).")
    assert dataset.ConceptNameCodeSequence[0].CodeMeaning == "Of Interest"
    assert dataset.SeriesDescription == "AI KEY OBJECTS - RESEARCH USE ONLY"
    assert dataset.Modality == "KO"
    assert dataset.ContributingEquipmentSequence[0].DeviceUID


def _name(item) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeMeaning) if names else ""


def test_images_are_shown_with_their_presentation_state(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 1})
    built = {item.kind: item for item in study.build(wanted=(GSPS, KOS))}
    (uid,) = study.paths
    (reference,) = (
        item.ReferencedSOPSequence[0]
        for item in built[KOS].dataset.ContentSequence
        if item.ValueType == "IMAGE"
        and item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == uid
    )
    (state,) = reference.ReferencedSOPSequence
    assert state.ReferencedSOPInstanceUID == built[GSPS].sop_instance_uid


def test_without_findings_there_is_none(tmp_path: Path) -> None:
    study = case(tmp_path, dict.fromkeys(FOUR_VIEWS, 0))
    assert KOS not in [item.kind for item in study.build(wanted=(KOS,))]
    with pytest.raises(ResultRejected, match="No image has a finding"):
        build_key_objects({}, study.result, {}, (), PROVENANCE, ObjectUids("2.25.1", "2.25.2", 1))


def test_another_selection_is_another_object_in_the_same_series(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 1})
    few, many = study.one(KOS), study.build(wanted=(SC, KOS))[-1]
    assert few.sop_instance_uid != many.sop_instance_uid
    assert few.series_instance_uid == many.series_instance_uid


def test_later_revisions_have_higher_instance_numbers(tmp_path: Path) -> None:
    study = case(tmp_path, {RIGHT_MLO: 1})
    assert study.one(KOS).dataset.InstanceNumber == 1
    later = replace(study, result=replace(study.result, revision=3))
    assert later.one(KOS).dataset.InstanceNumber == 3
