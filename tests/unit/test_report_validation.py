"""The gate before sending: each defect is put in on purpose and must be found."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from oncopixel_pacs.domain import Laterality, ObjectKind, SegmentationForm, View
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.validation import check
from tests.report_builders import FOUR_VIEWS, Case, case
from tests.report_mutations import (
    accent,
    add_frame_of_reference,
    blacken,
    claim_a_map,
    claim_mammogram,
    claim_no_loss,
    claim_no_text,
    claim_original,
    cut_pixels,
    drop_orientation,
    drop_segments,
    erase_pixels,
    first,
    foreign_modality_lut,
    foreign_voi_lut,
    frame_and_segment,
    grey,
    half_a_pdf,
    images_dropped,
    label_dropped,
    leading_zero_uid,
    long_uid,
    mirror,
    miscounted_pdf,
    move_outline,
    move_pixels,
    no_evidence,
    no_groups,
    no_meaning,
    no_notice,
    no_notice_in_description,
    no_notice_in_text,
    no_notice_on_the_image,
    no_pdf,
    no_window,
    nothing_analysed,
    odd_coordinates,
    open_outline,
    other_frame,
    other_function,
    other_laterality,
    other_layer,
    other_meta,
    other_object,
    other_patient_page,
    other_polarity,
    other_probability,
    other_side_of_segments,
    other_site,
    other_slope,
    other_template,
    other_title,
    other_tracking,
    other_view,
    other_window,
    outline_dropped,
    outline_miscounted,
    outline_of_another,
    outline_open,
    outline_outside,
    outside,
    part_of_the_image,
    plain_description,
    plain_label,
    plain_title,
    purpose_of_reference,
    rename_patient,
    second_image,
    second_source,
    selection_dropped,
    set_rows,
    swap_frames,
    text_outside,
    two_transformations,
    two_windows,
    unknown_image,
    unknown_reference,
    unknown_source,
    wrong_class,
)

SEG, SR, SC, PR = ObjectKind.SEG, ObjectKind.SR, ObjectKind.SC, ObjectKind.GSPS
KO, PDF = ObjectKind.KOS, ObjectKind.PDF
Mutation = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(tmp_path_factory.mktemp("study"), {(Laterality.RIGHT, View.MLO): 2})


@pytest.fixture(scope="module")
def objects_with(study: Case) -> Callable[[ObjectKind], tuple[BuiltObject, ...]]:
    """Build the objects of the study once for each kind that is wanted."""
    return cache(lambda kind: study.build(wanted=(kind,)))


def mutated(built: BuiltObject, mutation: Mutation) -> BuiltObject:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # writing nonsense is the point
        dataset = dcmread(io.BytesIO(built.part10))
        mutation(dataset)
        dataset.save_as(buffer)
    return replace(built, part10=buffer.getvalue())


MUTATIONS = [
    (SEG, set_rows, "Rows differs"),
    (SEG, mirror, "Patient Orientation differs"),
    (SEG, other_side_of_segments, "finding R MLO 1 of the segmentation is not so in the report"),
    (SEG, erase_pixels, "segment 1 has no pixels"),
    (SEG, cut_pixels, "too short"),
    (SEG, claim_a_map, "map of probabilities is not its last segment"),
    (SEG, move_pixels, "lies elsewhere than its pixels"),
    (SEG, other_probability, "probability of a finding is not the same"),
    (SEG, other_view, "another side or view than the report says"),
    (SEG, swap_frames, "frames do not follow"),
    (SEG, add_frame_of_reference, "Frame of Reference"),
    (SEG, drop_orientation, "Plane Orientation is missing"),
    (SEG, drop_segments, "lacks what its class requires"),
    (SEG, rename_patient, "PatientID differs"),
    (SEG, long_uid, "DeviceUID holds"),
    (SEG, leading_zero_uid, "SeriesInstanceUID holds '2.25.01'"),
    (SEG, accent, "CodeMeaning of code 49755003 is not ASCII|CodeMeaning of code .* is not ASCII"),
    (SEG, no_meaning, "has no CodeMeaning"),
    (SEG, no_notice, "research use only"),
    (SEG, other_meta, "File Meta Information names another object"),
    (SEG, other_object, "its bytes hold another object"),
    (SR, rename_patient, "PatientID differs"),
    (SR, accent, "is not ASCII"),
    (SR, no_notice, "research use only"),
    (SR, no_notice_in_text, "research use only"),
    (SR, outside, "outside their image"),
    (SR, open_outline, "not closed"),
    (SR, odd_coordinates, "not pairs"),
    (SR, frame_and_segment, "both frame and segment"),
    (SR, unknown_reference, "neither source nor result"),
    (SR, wrong_class, "under another SOP class"),
    (SR, other_frame, "finding R MLO 1 of the segmentation is not so in the report"),
    (SR, other_tracking, "finding R MLO 1 of the report is not so in the segmentation"),
    (SR, other_site, "another side"),
    (SR, no_evidence, "but no evidence"),
    (SR, other_template, "not TID 1500"),
    (SR, no_groups, "no measurement group"),
    (SR, nothing_analysed, "though nothing was analysed"),
    (SR, move_outline, "lies elsewhere than its pixels"),
    (PDF, other_patient_page, "source is not among the images"),
    (PDF, no_pdf, "no whole PDF"),
    (PDF, half_a_pdf, "no whole PDF"),
    (PDF, miscounted_pdf, "length is not that of its document"),
    (PDF, plain_title, "research use only"),
    (PDF, rename_patient, "PatientID differs"),
    (SC, claim_original, "that it is derived"),
    (SC, claim_mammogram, "modality is not OT"),
    (SC, claim_no_text, "text is burnt in"),
    (SC, other_laterality, "Laterality differs"),
    (SC, mirror, "Patient Orientation differs"),
    (SC, grey, "not in colour of 8 bits"),
    (SC, set_rows, "size of the picture|cannot be decoded"),
    (SC, cut_pixels, "cannot be decoded"),
    (SC, blacken, "picture is black"),
    (SC, claim_no_loss, "compressed with loss"),
    (SC, other_view, "another side or view"),
    (SC, second_source, "more than one image"),
    (SC, unknown_source, "source is not among the images"),
    (SC, rename_patient, "PatientID differs"),
    (SC, no_notice, "research use only"),
    (PR, other_laterality, "Laterality differs"),
    (PR, other_polarity, "polarity"),
    (PR, other_window, "window is not the first"),
    (PR, two_windows, "WindowWidth has more than one value"),
    (PR, two_transformations, "more than one VOI"),
    (PR, no_window, "window is not the first"),
    (PR, other_function, "window is not the first"),
    (PR, foreign_voi_lut, "VOI LUT is not"),
    (PR, foreign_modality_lut, "Modality LUT is not"),
    (PR, other_slope, "rescale is not"),
    (PR, part_of_the_image, "whole image"),
    (PR, plain_label, "label or description"),
    (PR, plain_description, "label or description"),
    (PR, no_notice_on_the_image, "no text on the image"),
    (PR, other_layer, "layer that is not there"),
    (PR, second_image, "more than one image"),
    (PR, unknown_image, "source is not among the images"),
    (PR, text_outside, "text lies outside"),
    (PR, outline_outside, "outline lies outside"),
    (PR, outline_open, "not closed"),
    (PR, outline_miscounted, "not closed"),
    (PR, outline_of_another, "differs between segmentation and presentation state"),
    (PR, outline_dropped, "R MLO 2 differs between segmentation and presentation state"),
    (PR, label_dropped, "outline R MLO 1 has no label"),
    (PR, rename_patient, "PatientID differs"),
    (PR, no_notice, "research use only"),
    (KO, other_template, "not TID 2010"),
    (KO, other_title, "not Of Interest"),
    (KO, no_notice_in_description, "research use only"),
    (KO, selection_dropped, "either selected or evidence"),
    (KO, no_evidence, "either selected or evidence"),
    (KO, images_dropped, "it selects no image"),
    (KO, images_dropped, "an image with findings is not among the key objects"),
    (KO, purpose_of_reference, "purpose of reference"),
    (KO, rename_patient, "PatientID differs"),
    (KO, no_notice, "research use only"),
]


def test_what_is_right_passes(tmp_path: Path) -> None:
    for findings in ({}, {FOUR_VIEWS[0]: 3, FOUR_VIEWS[3]: 1}):
        study = case(tmp_path, {**dict.fromkeys(FOUR_VIEWS, 0), **findings})
        check(study.build(), study.paths)
        check(study.build(wanted=tuple(ObjectKind)), study.paths)


def test_an_image_without_findings_is_no_key_object(tmp_path: Path) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 1, FOUR_VIEWS[1]: 0})
    built = study.build(wanted=(KO,))
    (plain,) = (i.facts for i in study.result.images if not i.findings)

    def select(dataset: Dataset) -> None:
        series = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        for item in (first(dataset, "IMAGE"), series):
            item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = plain.sop_instance_uid

    objects = [mutated(item, select) if item.kind is KO else item for item in built]
    with pytest.raises(ResultRejected, match="without findings is among"):
        check(objects, study.paths)


def test_loss_of_the_source_may_not_be_hidden(tmp_path: Path) -> None:
    def lossy(dataset: Dataset) -> None:
        dataset.LossyImageCompression = "01"

    def hide(dataset: Dataset) -> None:
        dataset.LossyImageCompression = "00"

    study = case(tmp_path, {FOUR_VIEWS[0]: 0}, change=lossy)
    built = [mutated(i, hide) if i.kind is SC else i for i in study.build(wanted=(SC,))]
    with pytest.raises(ResultRejected, match="compressed with loss"):
        check(built, study.paths)


@pytest.mark.parametrize(("kind", "mutation", "why"), MUTATIONS)
def test_each_defect_is_found(
    study: Case,
    objects_with: Callable[[ObjectKind], tuple[BuiltObject, ...]],
    kind: ObjectKind,
    mutation: Mutation,
    why: str,
) -> None:
    objects = objects_with(kind)
    built = [mutated(item, mutation) if item.kind is kind else item for item in objects]
    with pytest.raises(ResultRejected, match=why):
        check(built, study.paths)


def test_a_report_without_its_segmentation_is_held_back(study: Case) -> None:
    with pytest.raises(ResultRejected, match="neither source nor result"):
        check(study.build()[1:], study.paths)


def test_results_of_another_study_are_held_back(study: Case) -> None:
    with pytest.raises(ResultRejected, match="its source is not among the images"):
        check(study.build(), {})


def test_bytes_that_are_no_dicom_are_held_back(study: Case) -> None:
    built = replace(study.build()[0], part10=b"no DICOM")
    with pytest.raises(ResultRejected):
        check([built], study.paths)


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    study = case(tmp_path, dict.fromkeys(FOUR_VIEWS, 2))

    def everything(dataset: Dataset) -> None:
        for mutation in (set_rows, mirror, add_frame_of_reference, no_notice):
            mutation(dataset)

    built = [mutated(item, everything) if item.kind is SEG else item for item in study.build()]
    with pytest.raises(ResultRejected, match="and [0-9]+ more"):
        check(built, study.paths)


def test_no_objects_are_no_problem() -> None:
    check((), {})


def label_one_pixel_otherwise(dataset: Dataset) -> None:
    """As if a third finding had been drawn."""
    labels = dataset.pixel_array.copy()
    labels[0, 0] = 3
    dataset.compress(RLELossless, labels, generate_instance_uid=False)


def damage_the_label_map(dataset: Dataset) -> None:
    dataset.PixelData = encapsulate([b"\xff" * 100])


def scale_otherwise(dataset: Dataset) -> None:
    dataset.MaximumFractionalValue = 100


def call_it_occupancy(dataset: Dataset) -> None:
    dataset.SegmentationFractionalType = "OCCUPANCY"


def drop_the_map(dataset: Dataset) -> None:
    dataset.SegmentSequence[-1].SegmentLabel = "Lesion candidate 3"


@pytest.mark.parametrize(
    ("form", "mutation", "why"),
    [
        (SegmentationForm.LABELMAP, label_one_pixel_otherwise, "does not hold what its segments"),
        (SegmentationForm.LABELMAP, other_probability, "probability of a finding is not the same"),
        (SegmentationForm.LABELMAP, set_rows, "Rows differs"),
        (SegmentationForm.LABELMAP, damage_the_label_map, "label map cannot be decoded"),
        (SegmentationForm.FRACTIONAL, scale_otherwise, "values are not probabilities"),
        (SegmentationForm.FRACTIONAL, call_it_occupancy, "values are not probabilities"),
        (SegmentationForm.FRACTIONAL, drop_the_map, "map of probabilities is not its last"),
    ],
)
def test_each_defect_of_a_form_is_found(
    study: Case, form: SegmentationForm, mutation: Mutation, why: str
) -> None:
    objects = study.build(forms=(form,))
    check(objects, study.paths)
    built = [mutated(item, mutation) if item.kind is SEG else item for item in objects]
    with pytest.raises(ResultRejected, match=why):
        check(built, study.paths)
