"""Nobody is trained and tested on, copies stay together, and figures are those of the libraries."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.meandice import DiceMetric
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score

from oncopixel_pacs.errors import ConfigurationError
from training.calibration import (
    brier_score,
    calibrate,
    calibration_error,
    youden_threshold,
)
from training.class_scores import (
    ClassScores,
    balanced_accuracy,
    class_rows,
    grouped,
    macro_auc,
)
from training.datasets.example import IGNORED, Example
from training.datasets.readers import READERS
from training.datasets.record import Split
from training.datasets.tables import DataSetFault
from training.duplicates import groups_of_copies, perceptual_hash
from training.learner import segmentation_loss
from training.learning import Options, fit_recipe, read_run
from training.pixel_scores import best_threshold, score_pixels
from training.protocol import confounders, cramers_v, split_by_patient
from training.recipe import DataPart, load_recipe
from training.run_record import require_same_parts, require_unseen, write_run

DATA = os.environ.get("ONCOPIXEL_DATA", "")
PART = DataPart(sets=("made",), reading="grey", size=(32, 32), classes=("benign", "malignant"))


def example(
    number: int,
    patient: int,
    *,
    malignant: bool,
    split: Split | None = None,
    image: np.ndarray | None = None,
    **facts: str,
) -> Example:
    pixels = np.zeros((1, 32, 32), np.float32) if image is None else image
    label = "malignant" if malignant else "benign"
    return Example(
        "made", f"i{number}", f"p{patient}", label, split, (), lambda: pixels, facts=facts
    )


@settings(max_examples=30, deadline=None)
@given(
    patients=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=12, max_size=40),
    folds=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_no_patient_is_in_two_parts_and_every_image_is_tested_once(
    patients: list[tuple[int, bool]], folds: int, seed: int
) -> None:
    every = [
        example(100 * number + view, number, malignant=malignant)
        for number, (views, malignant) in enumerate(patients)
        for view in range(views)
    ]
    data = PART.model_copy(update={"folds": folds})
    tested: list[str] = []
    for fold in range(folds):
        try:
            parts = split_by_patient(every, data, fold=fold, seed=seed)
        except DataSetFault:
            return  # all of one class but one: nothing can be set aside
        sides = [{one.patient for one in part} for part in (parts.train, parts.val, parts.test)]
        assert all(sides) and not sides[0] & sides[1]
        assert not (sides[0] | sides[1]) & sides[2]
        assert len(parts.train) + len(parts.val) + len(parts.test) == len(every)
        tested += [one.key for one in parts.test]
    if folds > 1 and min(sum(m == kind for _, m in patients) for kind in (True, False)) >= folds:
        assert sorted(tested) == sorted(one.key for one in every)


def test_the_official_test_part_is_kept_and_its_patients_leave_training() -> None:
    every = [example(n, n, malignant=n % 2 == 0, split=Split.TRAIN) for n in range(20)]
    every += [example(100 + n, 100 + n, malignant=n % 2 == 0, split=Split.TEST) for n in range(6)]
    both = example(200, 100, malignant=True, split=Split.TRAIN)

    parts = split_by_patient([*every, both], PART)

    assert {one.split for one in parts.test} == {Split.TEST} and len(parts.test) == 6
    assert parts.dropped == ("i200",)
    assert both not in parts.train and both not in parts.val


def test_the_official_validation_part_is_kept_where_no_part_is_to_be_tested_on() -> None:
    every = [example(n, n, malignant=n % 2 == 0, split=Split.TRAIN) for n in range(24)]
    every += [example(100 + n, 100 + n, malignant=n % 2 == 0, split=Split.VAL) for n in range(6)]

    parts = split_by_patient(every, PART)

    assert {one.split for one in parts.val} == {Split.VAL} and len(parts.val) == 6
    assert {one.split for one in (*parts.train, *parts.test)} == {Split.TRAIN}
    assert len(parts.train) + len(parts.test) == 24 and not parts.dropped
    assert 4 <= len(parts.test) <= 6


def test_copies_of_test_pictures_leave_training() -> None:
    draw = np.random.default_rng(3)
    looks = [draw.normal(size=(8, 8)).repeat(8, 0).repeat(8, 1)[None] for _ in range(12)]
    every = [
        example(n, n, malignant=n % 2 == 0, split=Split.TEST if n < 4 else Split.TRAIN, image=look)
        for n, look in enumerate(looks)
    ]
    copy = (looks[0] * 0.9 + draw.normal(scale=0.02, size=looks[0].shape)).astype(np.float32)
    every.append(example(50, 50, malignant=True, split=Split.TRAIN, image=copy))
    data = PART.model_copy(update={"duplicates": "perceptual"})

    parts = split_by_patient(every, data)

    assert parts.dropped == ("i50",)
    assert not split_by_patient(every, PART).dropped


def test_copies_are_joined_over_a_chain() -> None:
    assert groups_of_copies([0b0, 0b1111, 0b11111111, 2**63 - 2**20]).tolist() == [0, 0, 0, 3]


@pytest.mark.skipif(not DATA, reason="ONCOPIXEL_DATA names no folder of real sets")
def test_real_brain_pictures_survive_recompression_as_copies() -> None:
    pictures = READERS["brain_mri"](Path(DATA) / "brain_mri")[:60]
    hashes = [perceptual_hash(one.image()) for one in pictures]
    again = [
        perceptual_hash((np.round(one.image() * 40) / 40)[:, 1:-1, 1:-1].astype(np.float32))
        for one in pictures
    ]

    found = groups_of_copies([*hashes, *again])

    assert np.mean(found[:60] == found[60:]) > 0.9
    assert len(set(found[:60].tolist())) > 50


def test_a_confounder_is_found() -> None:
    every = [
        example(
            n, n, malignant=n % 2 == 0, digitizer="A" if n % 2 == 0 else "B", side="LR"[n // 2 % 2]
        )
        for n in range(40)
    ]

    found = {one.fact: one for one in confounders(every, PART)}

    assert found["digitizer"].association == pytest.approx(1.0)
    assert found["side"].association == pytest.approx(0.0)
    assert found["digitizer"].counts == {"A": {"malignant": 20}, "B": {"benign": 20}}
    assert cramers_v({"A": {"x": 3}}) == 0.0


def answers(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, 200)
    logits = draw.normal(size=(200, classes)) + np.eye(classes)[labels]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


def test_figures_are_those_of_scikit_learn_and_monai() -> None:
    two, labels = answers(2)
    four, kinds = answers(4)

    assert macro_auc(two, labels) == pytest.approx(roc_auc_score(labels, two[:, 1]))
    assert macro_auc(four, kinds) == pytest.approx(roc_auc_score(kinds, four, multi_class="ovr"))
    assert brier_score(two, labels) == pytest.approx(brier_score_loss(labels, two[:, 1]))
    assert balanced_accuracy(four, kinds) == pytest.approx(
        balanced_accuracy_score(kinds, four.argmax(axis=1))
    )


def test_dice_per_class_is_that_of_monai_where_pixels_are_known() -> None:
    draw = np.random.default_rng(1)
    probability = draw.random((3, 16, 16)).astype(np.float32)
    mask = draw.integers(0, 3, (16, 16)).astype(np.uint8)
    inside = np.ones((16, 16), bool)

    ours = score_pixels(probability, mask, inside, threshold=0.5, pixel_mm=None).dice()

    one_hot = torch.nn.functional.one_hot
    answer = one_hot(torch.from_numpy(probability.argmax(0)), 3).permute(2, 0, 1)[None]
    truth = one_hot(torch.from_numpy(mask).long(), 3).permute(2, 0, 1)[None]
    theirs = DiceMetric(reduction="none")(answer, truth)[0].numpy()
    assert ours == pytest.approx(theirs)
    hidden = mask.copy()
    hidden[:8] = IGNORED
    half = score_pixels(probability[:, 8:], mask[8:], inside[8:], threshold=0.5, pixel_mm=None)
    whole = score_pixels(probability, hidden, inside, threshold=0.5, pixel_mm=None)
    assert np.array_equal(half.overlap, whole.overlap)


def test_calibration_mends_overconfidence_and_keeps_the_ranking() -> None:
    for classes in (2, 4):
        probability, labels = answers(classes)
        sure = probability**4 / (probability**4).sum(axis=1, keepdims=True)
        mended = calibrate(sure, labels)(sure)

        assert calibration_error(mended, labels) < calibration_error(sure, labels) / 2
        assert mended.sum(axis=1) == pytest.approx(1.0)
        assert macro_auc(mended, labels) == pytest.approx(macro_auc(sure, labels), abs=0.02)
    assert calibrate(*answers(2)[:1], np.zeros(200, int)).kind == "none"


def test_thresholds_come_from_what_they_are_given() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
    assert 0.2 < youden_threshold(scores, np.array([0, 0, 1, 1])) <= 0.7
    mask = np.zeros((20, 20), np.uint8)
    mask[5:10, 5:10] = 1
    where = np.where(mask == 1, 0.62, 0.41).astype(np.float32)[None]
    assert 0.41 < best_threshold([(where, mask, np.ones_like(mask, bool))]) <= 0.62


def test_breasts_are_means_of_views_and_studies_their_highest_breast() -> None:
    probability = np.array([0.2, 0.4, 0.9, 0.5])
    both = np.stack([1 - probability, probability], axis=1)
    scores = ClassScores(
        keys=("a", "b", "c", "d"),
        patients=("p",) * 4,
        folds=(0,) * 4,
        facts=tuple({"laterality": side} for side in "LLRR"),
        labels=np.array([0, 0, 1, 1]),
        called=probability > 0.8,
        model=both,
        trivial=both,
        floor=both,
    )

    breasts = grouped(scores, ["p L", "p L", "p R", "p R"])
    study = grouped(breasts, ["p", "p"], highest=True)

    assert breasts.model[:, 1] == pytest.approx([0.3, 0.7])
    assert breasts.labels.tolist() == [0, 1] and breasts.called.tolist() == [False, True]
    assert study.model[0, 1] == pytest.approx(0.7) and study.labels.tolist() == [1]


def test_intervals_draw_patients_and_subgroups_stand_in_the_table() -> None:
    probability, labels = answers(2)
    scores = ClassScores(
        keys=tuple(map(str, range(200))),
        patients=tuple(f"p{n // 10}" for n in range(200)),
        folds=tuple(n % 2 for n in range(200)),
        facts=tuple({"density": "AB"[n // 10 % 2]} for n in range(200)),
        labels=labels,
        called=probability[:, 1] > 0.5,
        model=probability,
        trivial=np.full((200, 2), 0.5),
        floor=probability[::-1],
    )

    rows = {(row.subset, row.name): row for row in class_rows(scores, draws=50)}

    assert {("fold 0", "AUC"), ("fold 1", "AUC"), ("density A", "AUC")} <= rows.keys()
    pooled = rows["all", "AUC"]
    assert pooled.model.patients == 20 and pooled.model.low < pooled.model.value < pooled.model.high
    assert pooled.trivial is not None and pooled.trivial.value == 0.5


def test_ignored_pixels_change_nothing_in_the_loss() -> None:
    draw = torch.Generator().manual_seed(0)
    for channels in (1, 3):
        logits = torch.randn(2, channels, 8, 8, generator=draw)
        mask = torch.randint(0, max(channels, 2), (2, 8, 8), generator=draw)
        mask[:, :4] = IGNORED
        changed = logits.clone()
        changed[:, :, :4] += 5.0

        assert segmentation_loss(logits, mask) == pytest.approx(
            float(segmentation_loss(changed, mask)), rel=1e-5
        )
        assert segmentation_loss(logits, torch.full_like(mask, IGNORED)) == 0.0


@pytest.mark.parametrize("name", ["breakhis-vit", "brain-mri-resnet50", "bcss-unetr"])
def test_twins_name_each_other_or_a_common_rival(name: str) -> None:
    twin = load_recipe(name).twin

    assert twin is not None and load_recipe(twin).twin is not None
    assert load_recipe(twin).data.classes == load_recipe(name).data.classes


def test_patients_that_a_run_has_learned_from_do_not_score_it(tmp_path: Path) -> None:
    """Patients that are added share all of them out anew, where a set has no official parts."""
    recipe = load_recipe("mammo-classifier")
    few = [example(n, n // 2, malignant=n % 4 < 2) for n in range(40)]
    before = split_by_patient(few, PART, seed=1)
    write_run(tmp_path, recipe.model_copy(update={"data": PART}), [], before, [])
    require_same_parts(tmp_path, before, PART)
    require_unseen(tmp_path, before)

    more = [*few, *(example(n, n // 2, malignant=n % 4 < 2) for n in range(40, 80))]
    after = split_by_patient(more, PART, seed=1)
    learned = {one.patient for one in (*before.train, *before.val)}
    assert learned & {one.patient for one in after.test}
    with pytest.raises(ConfigurationError, match="learned from"):
        require_unseen(tmp_path, after)
    with pytest.raises(ConfigurationError, match="another --out"):
        require_same_parts(tmp_path, after, PART)


def read_halfway(monkeypatch: pytest.MonkeyPatch, read: Callable[[], object]) -> None:
    """Have another process read whenever half of a file is written."""
    write = Path.write_text

    def write_text(path: Path, text: str, **how: str) -> int:
        write(path, text[: len(text) // 2], **how)
        read()
        return write(path, text, **how)

    monkeypatch.setattr(Path, "write_text", write_text)


def test_processes_of_several_devices_never_read_half_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [example(n, n // 2, malignant=n % 4 < 2) for n in range(40)]
    parts = split_by_patient(images, PART, seed=1)
    recipe = load_recipe("mammo-classifier").model_copy(update={"data": PART})
    seen: list[None] = []
    read_halfway(
        monkeypatch, lambda: seen.append(require_same_parts(tmp_path / "fold-0", parts, PART))
    )
    write_run(tmp_path / "fold-0", recipe, [], parts, [])
    assert seen == [None]
    require_same_parts(tmp_path / "fold-0", parts, PART)


def test_a_run_is_claimed_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a recipe would be that of another run to the process of the second device."""
    recipe, out = load_recipe("pcam-vgg"), tmp_path / "run"
    claimed: list[bool] = []

    def read() -> None:
        claimed.append((out / "recipe.json").exists())
        if claimed[-1]:
            read_run(out)

    read_halfway(monkeypatch, read)
    with pytest.raises(DataSetFault):
        fit_recipe(recipe, out, Options(tmp_path / "nowhere", tmp_path, progress=False))
    assert claimed == [False] and read_run(out) == recipe


def test_a_corrected_label_is_no_run_to_go_on_with(tmp_path: Path) -> None:
    images = [example(n, n // 2, malignant=n % 4 < 2) for n in range(40)]
    parts = split_by_patient(images, PART, seed=1)
    recipe = load_recipe("mammo-classifier").model_copy(update={"data": PART})
    write_run(tmp_path, recipe, [], parts, [])

    first, *rest = parts.train
    other = "benign" if first.label == "malignant" else "malignant"
    corrected = replace(parts, train=(replace(first, label=other), *rest))

    require_unseen(tmp_path, corrected)
    with pytest.raises(ConfigurationError, match="labels"):
        require_same_parts(tmp_path, corrected, PART)
