"""One study is read: every image gets a result or a reason, in one order."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mammogram_builder import COLUMNS, MASS, ROWS, SCREENING, STUDY_UID, View2D, write_mammogram
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydicom.dataset import Dataset
from torch.nn.functional import max_pool2d

from oncopixel_pacs.domain import Algorithm, Laterality, ModelTask, Reason, StudyResult, View
from oncopixel_pacs.domain.requirements import Requirements
from oncopixel_pacs.domain.rules import Origin, Rule
from oncopixel_pacs.errors import AnalysisFailed, DeviceLost
from oncopixel_pacs.imaging.mammogram import decode_here, read_mammogram
from oncopixel_pacs.infer.cards import Card
from oncopixel_pacs.infer.label_maps import read_label_map
from oncopixel_pacs.infer.loaded_models import LoadedModel, LoadedModels
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage, read_studies, read_study

Network = Callable[[torch.Tensor], torch.Tensor]


def bright(images: torch.Tensor) -> torch.Tensor:
    """Segment what is bright and not thin."""
    eroded = -max_pool2d(-images, 9, stride=1, padding=4)
    return 40 * (max_pool2d(eroded, 9, stride=1, padding=4) - 0.75)


def brightest(images: torch.Tensor) -> torch.Tensor:
    """Score an image by its share of bright pixels."""
    return 5000 * (bright(images) > 0).float().mean(dim=(2, 3)) - 4


def model(task: ModelTask, network: Network) -> LoadedModel:
    algorithm = Algorithm(str(task), "1", task, "a" * 64, "b" * 64, 0.5)
    card = Card("1", task, "sigmoid", "b" * 64, 0.5, "Test", (64, 32))
    return LoadedModel(algorithm, card, network, torch.device("cpu"))


def models(classify: Network | None = brightest, segment: Network | None = bright) -> LoadedModels:
    classifier = model(ModelTask.CLASSIFY, classify) if classify else None
    segmenter = model(ModelTask.SEGMENT, segment) if segment else None
    return LoadedModels(tuple(item for item in (classifier, segmenter) if item), "cpu")


@dataclass
class Counted:
    """A network that notes the shapes it was asked for."""

    network: Network
    shapes: list[tuple[int, ...]]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(images.shape))
        return self.network(images)


def request_of(folder: Path, *views: View2D) -> AnalysisRequest:
    paths = [write_mammogram(folder, view) for view in views]
    images = tuple(RequestedImage(read_mammogram(path).facts, path) for path in paths)
    return AnalysisRequest(STUDY_UID, 3, images, folder / "labels")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> AnalysisRequest:
    return request_of(tmp_path_factory.mktemp("study"), *SCREENING)


@pytest.fixture(scope="module")
def result(study: AnalysisRequest) -> StudyResult:
    return read_study(study, models())


def test_each_mass_is_one_finding_where_it_lies(
    result: StudyResult, study: AnalysisRequest
) -> None:
    assert [image.facts.name for image in result.images] == ["R CC", "L CC", "R MLO", "L MLO"]
    assert [len(image.findings) for image in result.images] == [1, 0, 1, 0]
    for image, finding in result.findings:
        expected = (MASS[0], COLUMNS - 1 - MASS[1])
        assert finding.centre == pytest.approx(expected, abs=4)
        assert finding.tracking_id == f"{image.facts.name} 1"
        labels = read_label_map(study.labels_dir, image.facts.sop_instance_uid)
        assert labels is not None
        assert labels.shape == (ROWS, COLUMNS)
        assert labels[tuple(map(int, finding.centre))] == 1
        assert finding.area_mm2 == pytest.approx(np.pi * 6**2, rel=0.2)


def test_images_without_findings_have_no_label_map(
    result: StudyResult, study: AnalysisRequest
) -> None:
    maps = {
        image.facts.name: read_label_map(study.labels_dir, image.facts.sop_instance_uid)
        for image in result.images
    }
    assert [name for name, labels in maps.items() if labels is None] == ["L CC", "L MLO"]


def test_a_breast_is_the_mean_of_its_views_and_the_study_its_highest_breast(
    result: StudyResult,
) -> None:
    for side in Laterality:
        scores = [i.probability for i in result.images if i.facts.laterality is side]
        assert result.breasts[side] == pytest.approx(np.mean([s for s in scores if s is not None]))
    assert result.probability == result.breasts[Laterality.RIGHT] > 0.5
    assert result.breasts[Laterality.LEFT] < 0.5


def test_the_result_says_what_it_is_of(result: StudyResult) -> None:
    assert (result.study_instance_uid, result.revision, result.device) == (STUDY_UID, 3, "cpu")
    assert [item.task for item in result.algorithms] == [ModelTask.CLASSIFY, ModelTask.SEGMENT]
    assert {"decode", "prepare", "classify", "segment", "findings"} == result.timings_seconds.keys()
    assert all(seconds >= 0 for seconds in result.timings_seconds.values())


def test_the_same_study_gives_the_same_result_in_any_order_of_arrival(
    result: StudyResult, study: AnalysisRequest
) -> None:
    again = read_study(replace(study, images=study.images[::-1]), models())
    assert replace(again, timings_seconds={}) == replace(result, timings_seconds={})


def test_the_result_survives_json(result: StudyResult) -> None:
    adapter = TypeAdapter(StudyResult)
    assert adapter.validate_json(adapter.dump_json(result)) == result


def test_views_of_one_shape_go_through_the_models_together(study: AnalysisRequest) -> None:
    counted = Counted(bright, [])
    read_study(study, models(None, counted))
    assert sum(shape[0] for shape in counted.shapes) == 4
    assert len(counted.shapes) == len({shape[1:] for shape in counted.shapes})


def test_views_of_several_studies_go_through_the_models_of_a_gpu_together(
    study: AnalysisRequest, result: StudyResult, tmp_path: Path
) -> None:
    counted = Counted(bright, [])
    both = replace(models(segment=counted), batch_images=8, gpus=1)
    other = replace(study, revision=4, labels_dir=tmp_path / "other")
    first, second = read_studies([study, other], both, openers=3)
    shapes = {shape[1:] for shape in counted.shapes}
    assert sum(shape[0] for shape in counted.shapes) == 8
    assert len(counted.shapes) == len(shapes), "images of one shape, one question"
    assert (first.revision, second.revision) == (3, 4)
    for read in (first, second):
        assert replace(read, revision=3, timings_seconds={}) == replace(result, timings_seconds={})
        assert read.timings_seconds.keys() == result.timings_seconds.keys()
    marked = [image.facts.sop_instance_uid for image in second.images if image.findings]
    assert marked
    for uid in marked:
        assert read_label_map(other.labels_dir, uid) is not None


def test_a_study_does_not_wait_for_those_that_are_read_after_it(
    study: AnalysisRequest, result: StudyResult, tmp_path: Path
) -> None:
    first_is_there, opened = threading.Event(), Counter[Path]()

    def decoder(dataset: Dataset, path: Path) -> NDArray[Any]:
        opened[path] += 1
        if opened.total() == 2 * len(study.images):
            assert first_is_there.wait(60), "the first study waits for the second"
        return decode_here(dataset, path)

    other = replace(study, revision=4, labels_dir=tmp_path)
    reading = read_studies([study, other], models(), decoder, openers=2)
    first = next(reading)
    first_is_there.set()
    second = next(reading)
    assert replace(first, timings_seconds={}) == replace(result, timings_seconds={})
    assert second.revision == 4
    assert list(reading) == []


def test_on_the_cpu_both_models_are_asked_at_the_same_time(study: AnalysisRequest) -> None:
    met = threading.Barrier(2)

    def meeting(network: Network) -> Network:
        def ask(images: torch.Tensor) -> torch.Tensor:
            met.wait(timeout=20)  # breaks where one is asked only after the other
            return network(images)

        return ask

    result = read_study(study, models(meeting(brightest), meeting(bright)))

    assert [image.findings for image in result.images] == [
        image.findings for image in read_study(study, models()).images
    ]


def test_a_gpu_is_asked_by_one_model_after_the_other(study: AnalysisRequest) -> None:
    asked_by: list[int] = []

    def noted(network: Network) -> Network:
        def ask(images: torch.Tensor) -> torch.Tensor:
            asked_by.append(threading.get_ident())
            return network(images)

        return ask

    read_study(study, replace(models(noted(brightest), noted(bright)), gpus=1))

    assert set(asked_by) == {threading.get_ident()}


@pytest.mark.parametrize("broken", ["classify", "segment"])
def test_a_model_that_fails_beside_the_other_fails_the_study(
    study: AnalysisRequest, broken: str
) -> None:
    networks: dict[str, Network] = {"classify": brightest, "segment": bright}
    sound = networks[broken]
    networks[broken] = lambda images: sound(images) * float("nan")

    with pytest.raises(AnalysisFailed, match=f"{broken} answered NaN"):
        read_study(study, models(**networks))


def test_no_more_images_are_asked_for_at_a_time_than_is_configured(study: AnalysisRequest) -> None:
    counted = Counted(bright, [])
    read_study(study, replace(models(None, counted), batch_images=1))
    assert [shape[0] for shape in counted.shapes] == [1, 1, 1, 1]


def test_studies_of_different_models_share_no_batch(study: AnalysisRequest, tmp_path: Path) -> None:
    first, second = Counted(bright, []), Counted(bright, [])
    elsewhere = replace(
        study,
        labels_dir=tmp_path,
        images=tuple(replace(image, origin=Origin("OTHER", "ONCOPIXEL")) for image in study.images),
    )
    of_others = replace(model(ModelTask.SEGMENT, first), rule=Rule(calling_ae_titles=("OTHER",)))
    fallback = model(ModelTask.SEGMENT, second)
    fallback = replace(fallback, algorithm=replace(fallback.algorithm, name="fallback"))
    both = LoadedModels((of_others, fallback), "cpu", 8)
    results = list(read_studies([elsewhere, study], both))
    assert [r.algorithms[0].name for r in results] == ["segment", "fallback"]
    assert sum(shape[0] for shape in first.shapes) == 4
    assert sum(shape[0] for shape in second.shapes) == 4


def test_an_image_with_a_reason_is_not_read(study: AnalysisRequest) -> None:
    first = replace(study.images[0], reason=Reason.PARTIAL_VIEW, path=Path("nowhere"))
    result = read_study(replace(study, images=(first, *study.images[1:])), models())
    assert [image.reason for image in result.images] == [Reason.PARTIAL_VIEW, None, None, None]
    assert result.images[0].probability is None
    assert result.breasts[Laterality.RIGHT] == result.images[2].probability


def test_an_image_of_unknown_pixel_size_is_not_read(study: AnalysisRequest) -> None:
    first = study.images[0]
    unknown = replace(first, facts=replace(first.facts, spacing_mm=None))
    result = read_study(replace(study, images=(unknown,)), models())
    assert result.images[0].reason is Reason.NO_PIXEL_SPACING


def test_unreadable_images_get_their_reason_and_the_others_go_on(tmp_path: Path) -> None:
    blank = View2D(5, Laterality.LEFT, View.CC, blank=True)
    request = request_of(tmp_path, *SCREENING[:2], blank)
    broken = request.images[1].path
    broken.write_bytes(broken.read_bytes()[:-1000])
    result = read_study(request, models())
    assert [image.reason for image in result.images] == [
        None,
        Reason.UNREADABLE_PIXELS,
        Reason.BLANK,
    ]
    assert result.images[1].reason_detail
    assert set(result.breasts) == {Laterality.RIGHT}


def asking(models: LoadedModels, **requirements: Requirements) -> LoadedModels:
    """Have models ask something of images, by their names."""

    def changed(item: LoadedModel) -> LoadedModel:
        asked = requirements.get(item.algorithm.name, item.card.requirements)
        return replace(item, card=replace(item.card, requirements=asked))

    return replace(models, models=tuple(map(changed, models.models)))


def test_a_model_that_does_not_read_an_image_says_why_and_the_other_reads_it(
    study: AnalysisRequest, result: StudyResult
) -> None:
    oblique = Requirements(views=(View.MLO,))
    said = read_study(study, asking(models(), classify=oblique))
    cc, mlo = said.images[:2], said.images[2:]
    assert [image.probability for image in cc] == [None, None]
    assert [image.findings for image in said.images] == [i.findings for i in result.images]
    assert [image.probability for image in mlo] == [i.probability for i in result.images[2:]]
    assert all(image.analysed for image in said.images)
    assert [[(s.model, s.task, s.reason) for s in image.skipped] for image in said.images] == [
        *[[("classify", ModelTask.CLASSIFY, Reason.MODEL_VIEW)]] * 2,
        *[[]] * 2,
    ]
    assert said.breasts == {i.facts.laterality: i.probability for i in mlo}


def test_an_image_that_the_segmenter_does_not_read_has_a_score_and_no_findings(
    study: AnalysisRequest, result: StudyResult
) -> None:
    said = read_study(study, asking(models(), segment=Requirements(manufacturers=("ACME",))))
    assert said.findings == ()
    assert [i.probability for i in said.images] == [i.probability for i in result.images]
    assert {s.task for i in said.images for s in i.skipped} == {ModelTask.SEGMENT}


def test_an_image_that_no_model_reads_is_not_analysed(study: AnalysisRequest) -> None:
    small = Requirements(pixel_size_mm=(0.01, 0.05))
    left = Requirements(lateralities=(Laterality.LEFT,))
    said = read_study(study, asking(models(), classify=left, segment=small))
    right = [image for image in said.images if image.facts.laterality is Laterality.RIGHT]
    assert {image.reason for image in right} == {Reason.MODEL_LATERALITY}
    assert [skip.reason for skip in right[0].skipped] == [
        Reason.MODEL_LATERALITY,
        Reason.MODEL_PIXEL_SIZE,
    ]


def test_every_model_has_the_reason_of_an_image_that_none_can_read(
    study: AnalysisRequest,
) -> None:
    first = replace(study.images[0], reason=Reason.PARTIAL_VIEW)
    (image,) = read_study(replace(study, images=(first,)), models()).images
    assert [(s.model, s.reason) for s in image.skipped] == [
        ("classify", Reason.PARTIAL_VIEW),
        ("segment", Reason.PARTIAL_VIEW),
    ]


def test_a_study_without_a_readable_image_has_no_probability(study: AnalysisRequest) -> None:
    images = tuple(replace(image, reason=Reason.BREAST_IMPLANT) for image in study.images)
    result = read_study(replace(study, images=images), models())
    assert result.probability is None
    assert result.breasts == {}
    assert len(result.images) == 4


def test_a_classifier_alone_gives_scores_and_no_findings(study: AnalysisRequest) -> None:
    result = read_study(study, models(segment=None))
    assert result.probability is not None
    assert result.findings == ()


def test_a_segmenter_alone_gives_findings_and_no_scores(
    study: AnalysisRequest, result: StudyResult
) -> None:
    alone = read_study(study, models(classify=None))
    assert alone.probability is None
    assert alone.breasts == {}
    assert [f.probability for _, f in alone.findings] == [f.probability for _, f in result.findings]


def test_tracking_uids_differ_between_images_and_between_models(
    study: AnalysisRequest, result: StudyResult
) -> None:
    def uids(of: StudyResult) -> set[str]:
        return {finding.tracking_uid for _, finding in of.findings}

    assert len(uids(result)) == 2
    assert uids(read_study(study, models(classify=None))).isdisjoint(uids(result))


def test_a_label_map_of_an_earlier_attempt_does_not_stay(tmp_path: Path) -> None:
    request = request_of(tmp_path, SCREENING[0])
    uid = SCREENING[0].sop_uid
    read_study(request, models())
    assert read_label_map(request.labels_dir, uid) is not None
    read_study(request, models(segment=lambda images: torch.full_like(images, -9)))
    assert read_label_map(request.labels_dir, uid) is None


def not_a_number(images: torch.Tensor) -> torch.Tensor:
    return images * float("nan")


def infinite(images: torch.Tensor) -> torch.Tensor:
    return images + float("inf")


def half(images: torch.Tensor) -> torch.Tensor:
    return images[:, :, ::2]


@pytest.mark.parametrize(
    ("segment", "words"),
    [(not_a_number, "NaN or infinity"), (infinite, "NaN or infinity"), (half, "with shape")],
)
def test_an_answer_that_is_no_answer_fails_the_study_for_good(
    segment: Network, words: str, study: AnalysisRequest, tmp_path: Path
) -> None:
    with pytest.raises(AnalysisFailed, match=words) as failure:
        read_study(replace(study, labels_dir=tmp_path), models(segment=segment))
    assert failure.value.permanent
    assert list(tmp_path.iterdir()) == []


def test_a_full_gpu_may_be_tried_again(study: AnalysisRequest) -> None:
    def full(_images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(AnalysisFailed, match="ran out of memory on cpu with one image") as failure:
        read_study(study, models(classify=full))
    assert not failure.value.permanent


@pytest.mark.parametrize("room", [1, 2, 3])
@pytest.mark.parametrize(
    "full",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_batch_that_is_too_large_is_halved_until_it_fits(
    study: AnalysisRequest, result: StudyResult, room: int, full: RuntimeError
) -> None:
    shapes: list[tuple[int, ...]] = []

    def narrow(network: Network) -> Network:
        def run(images: torch.Tensor) -> torch.Tensor:
            shapes.append(tuple(images.shape))
            if len(images) > room:
                raise full
            return network(images)

        return run

    there = read_study(study, models(narrow(brightest), narrow(bright)))
    assert replace(there, timings_seconds={}) == replace(result, timings_seconds={})
    assert max(count for count, *_ in shapes) > room


def test_another_defect_of_the_device_is_not_taken_for_a_lack_of_memory(
    study: AnalysisRequest,
) -> None:
    def broken(_images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        read_study(study, models(classify=broken))


def test_a_device_that_gives_up_is_told_apart(study: AnalysisRequest) -> None:
    def lost(_images: torch.Tensor) -> torch.Tensor:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    with pytest.raises(DeviceLost, match="The device cpu gave up") as failure:
        read_study(study, models(classify=lost))
    assert not failure.value.permanent


def test_a_file_of_another_image_fails_the_study_for_good(study: AnalysisRequest) -> None:
    swapped = replace(study.images[0], path=study.images[1].path)
    with pytest.raises(AnalysisFailed, match="holds another image") as failure:
        read_study(replace(study, images=(swapped,)), models())
    assert failure.value.permanent


@pytest.mark.parametrize("path", [Path("nowhere.dcm"), Path()], ids=["missing", "folder"])
def test_a_file_that_cannot_be_opened_may_be_tried_again(
    path: Path, study: AnalysisRequest
) -> None:
    image = replace(study.images[0], path=path)
    with pytest.raises(AnalysisFailed, match="cannot be opened .* check the data dir") as failure:
        read_study(replace(study, images=(image,)), models())
    assert not failure.value.permanent


def test_a_disk_that_takes_no_label_map_may_be_tried_again(
    study: AnalysisRequest, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AnalysisFailed, match="cannot be written .* check space") as failure:
        read_study(replace(study, labels_dir=tmp_path / "file" / "labels"), models())
    assert not failure.value.permanent


def test_of_several_models_those_that_are_chosen_read_the_study(tmp_path: Path) -> None:
    asked: list[str] = []

    def noting(name: str, rule: Rule) -> LoadedModel:
        def answer(images: torch.Tensor) -> torch.Tensor:
            asked.append(name)
            return bright(images)

        made = model(ModelTask.SEGMENT, answer)
        return replace(made, algorithm=replace(made.algorithm, name=name), rule=rule)

    trial = noting("trial", Rule(called_ae_titles=("TRIAL",)))
    usual = noting("usual", Rule(modalities=("MG",)))
    loaded = LoadedModels((trial, usual), "cpu")
    request = request_of(tmp_path, SCREENING[0])
    for called, name in (("TRIAL", "trial"), ("ONCOPIXEL", "usual")):
        images = tuple(replace(item, origin=Origin("", called)) for item in request.images)
        result = read_study(replace(request, images=images), loaded)
        assert [item.name for item in result.algorithms] == [name]
        assert len(result.findings) == 1
        assert result.images[0].skipped == ()
    assert asked == ["trial", "usual"]


def test_an_image_that_no_rule_wants_has_that_reason(tmp_path: Path) -> None:
    made = replace(model(ModelTask.SEGMENT, bright), rule=Rule(station_names=("ROOM2",)))
    (image,) = read_study(request_of(tmp_path, SCREENING[0]), LoadedModels((made,), "cpu")).images
    assert image.reason is Reason.MODEL_RULE
    assert image.reason_detail == "Station name is not known; the rule asks for ROOM2."
