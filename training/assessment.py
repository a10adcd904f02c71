"""Scoring a trained recipe: every fold on its own patients, figures, tables and plots."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.imaging.preprocess import Preprocessing
from oncopixel_pacs.infer.calibration import Calibrator
from training.answers import Answer, ask
from training.calibration import calibrate, youden_threshold
from training.candidates import blobness
from training.charts import draw_charts
from training.class_scores import ClassScores, Row, class_rows, joined
from training.data_module import UNKNOWN, Bag, bags_of, label_number
from training.datasets.example import Classes, Example, Pixels
from training.datasets.readers import read_examples
from training.floors import (
    ClassicalClassifier,
    ClassicalSegmenter,
    picture_features,
    prevalence,
)
from training.inputs import Preparer
from training.learning import Options, fitted_network, quiet
from training.metrics import Estimate
from training.pixel_scores import (
    AnsweredClasses,
    PixelScores,
    best_threshold,
    pixel_rows,
    score_pixels,
)
from training.protocol import Parts, split_by_patient
from training.recipe import Recipe
from training.run_record import require_unseen

DRAWS = 1000
_FLOOR_IMAGES, _FLOOR_BAGS, _THRESHOLD_IMAGES = 60, 2000, 200


@dataclass(frozen=True, slots=True)
class FoldSettings:
    """What the validation patients of a fold decided.

    Attributes
    ----------
    class_threshold
        Of two classes, on the score before calibration, as the server compares it.
    pixel_threshold
        Of a lesion segmenter.
    """

    fold: int
    calibrator: Calibrator
    class_threshold: float
    pixel_threshold: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything that was measured of a trained recipe."""

    recipe: Recipe
    rows: tuple[Row, ...]
    settings: tuple[FoldSettings, ...]
    classes: ClassScores | None
    pixels: PixelScores | None


def assess(recipe: Recipe, out: Path, options: Options, draws: int = DRAWS) -> Assessment:
    """Score every fold on the patients that it never saw, and write the report.

    Leaves ``evaluation.json``, ``table.md``, ``predictions.csv`` and ``plots/`` in `out`.

    Raises
    ------
    ConfigurationError
        When a fold is not trained, or has learned from patients that would score it.
    """
    examples = read_examples(recipe.data.sets, options.data, recipe.data.phantoms)
    preparer = Preparer(recipe.data, options.cache)
    readable, _ = preparer.readable(examples)
    settings, classes, pixels = [], [], []
    for fold in range(recipe.data.folds):
        folder = out / f"fold-{fold}"
        network = fitted_network(recipe, folder)
        parts = split_by_patient(readable, recipe.data, fold=fold, seed=recipe.seed)
        require_unseen(folder, parts)
        scorer = _Fold(recipe, fold, network, parts, preparer)
        chosen, seen, mapped = scorer.score()
        settings.append(chosen)
        classes += [seen] if seen is not None else []
        pixels += [mapped] if mapped is not None else []
    pooled = joined(classes) if classes else None
    drawn = _joined_pixels(pixels) if pixels else None
    rows = [*(class_rows(pooled, draws) if pooled else [])]
    rows += pixel_rows(drawn, draws) if drawn else []
    assessment = Assessment(recipe, tuple(rows), tuple(settings), pooled, drawn)
    write_assessment(assessment, out)
    with quiet():
        draw_charts(assessment, out, readable, preparer)
    return assessment


class _Fold:
    """Scores one fold: its validation patients decide, its test patients are scored."""

    def __init__(
        self, recipe: Recipe, fold: int, network: torch.nn.Module, parts: Parts, preparer: Preparer
    ) -> None:
        self._recipe, self._fold, self._network = recipe, fold, network
        self._preparer = preparer
        self._train = self._useful(parts.train)
        self._val, self._test = self._useful(parts.val), self._useful(parts.test)
        if not self._test:
            raise ConfigurationError("No image is left to be scored; add patients to the sets.")

    def _useful(self, examples: Sequence[Example]) -> list[Bag]:
        bags = bags_of(examples, self._recipe.data)
        if self._recipe.kind == "classify":
            return [bag for bag in bags if label_number(bag, self._recipe.data) != UNKNOWN]
        return bags

    def score(self) -> tuple[FoldSettings, ClassScores | None, PixelScores | None]:
        val = list(ask(self._network, self._val[:_THRESHOLD_IMAGES], self._recipe, self._preparer))
        test = list(ask(self._network, self._test, self._recipe, self._preparer))
        calibrator, cut = self._class_settings(val)
        maps = [
            (one.where, prepared.mask, prepared.breast)
            for one in val
            if one.where is not None and (prepared := self._preparer(one.bag[0])).mask is not None
        ]
        lesions = bool(maps) and maps[0][0].shape[0] == 1
        settings = FoldSettings(
            self._fold, calibrator, cut, best_threshold(maps) if lesions else 0.5
        )
        classes = self._classes(test, settings) if self._recipe.kind != "segment" else None
        pixels = self._pixels(test, settings) if self._recipe.kind != "classify" else None
        return settings, classes, pixels

    def _class_settings(self, val: Sequence[Answer]) -> tuple[Calibrator, float]:
        known = [
            (one.probability, label)
            for one in val
            if one.probability is not None
            and (label := label_number(one.bag, self._recipe.data)) != UNKNOWN
        ]
        if not known:
            return Calibrator("none"), 0.5
        probability = np.stack([found for found, _ in known])
        labels = np.array([label for _, label in known])
        calibrator = calibrate(probability, labels)
        if probability.shape[1] != 2:
            return calibrator, 0.5
        # On scores as the server has them, before calibration; the ranking is the same.
        return calibrator, youden_threshold(probability, labels)

    def _classes(self, test: Sequence[Answer], settings: FoldSettings) -> ClassScores | None:
        data = self._recipe.data
        known = [one for one in test if label_number(one.bag, data) != UNKNOWN]
        train = [bag for bag in self._train if label_number(bag, data) != UNKNOWN]
        if not known or not train:
            return None
        found = [one.probability for one in known if one.probability is not None]
        raw = np.stack(found)
        model = settings.calibrator(raw)
        draw = np.random.default_rng(self._recipe.seed)
        train = [train[i] for i in draw.permutation(len(train))[:_FLOOR_BAGS]]
        learned = np.array([label_number(bag, data) for bag in train])
        count = len(data.classes)
        floor = ClassicalClassifier(count, self._recipe.seed).fit(self._features(train), learned)
        return ClassScores(
            keys=tuple(one.bag[0].key for one in known),
            patients=tuple(f"{one.bag[0].source}/{one.bag[0].patient}" for one in known),
            folds=(self._fold,) * len(known),
            facts=tuple({"source": one.bag[0].source, **one.bag[0].facts} for one in known),
            labels=np.array([label_number(one.bag, data) for one in known]),
            called=raw[:, -1] >= settings.class_threshold,
            model=model,
            trivial=prevalence(learned, count, len(known)),
            floor=floor(self._features([one.bag for one in known])),
        )

    def _features(self, bags: Sequence[Bag]) -> NDArray[np.float64]:
        return np.stack(
            [
                np.mean([picture_features(self._preparer(view)) for view in bag], axis=0)
                for bag in bags
            ]
        )

    def _pixels(self, test: Sequence[Answer], settings: FoldSettings) -> PixelScores | None:
        outlined = [one for one in test if self._preparer(one.bag[0]).mask is not None]
        pairs = [
            (prepared.image, prepared.mask)
            for bag in self._train[:_FLOOR_IMAGES]
            if (prepared := self._preparer(bag[0])).mask is not None
        ]
        if not outlined or not pairs:
            return None
        tissue = self._recipe.kind == "segment" and len(self._recipe.data.classes) > 1
        names = self._recipe.data.classes if tissue else ("lesion",)
        floor = ClassicalSegmenter(max(len(names), 2), self._recipe.seed).fit(pairs)
        pixel_mm = None if tissue else self._pixel_mm()
        common = _commonest(pairs, len(names))
        scored: dict[str, list[Any]] = {"model": [], "trivial": [], "floor": [], "answers": []}
        for one in outlined:
            prepared = self._preparer(one.bag[0])
            mask, inside, image = prepared.mask, prepared.breast, prepared.image
            if mask is None or one.where is None:
                continue
            hand_made = floor(image) if tissue else floor(image)[1:]
            simple = common(image) if tissue else _spots(image, inside, self._pixel_mm())
            # The brightest fiftieth of the breast is about what a lesion takes up.
            cuts = (settings.pixel_threshold, float(np.quantile(simple[0], 0.98)), 0.5)
            maps = (one.where, simple, hand_made)
            scored["answers"].append(AnsweredClasses.of(one.where, inside, cuts[0]))
            for name, where, cut in zip(("model", "trivial", "floor"), maps, cuts, strict=True):
                scored[name].append(
                    score_pixels(where, mask, inside, threshold=cut, pixel_mm=pixel_mm)
                )
        return PixelScores(
            keys=tuple(one.bag[0].key for one in outlined),
            patients=tuple(f"{one.bag[0].source}/{one.bag[0].patient}" for one in outlined),
            folds=(self._fold,) * len(outlined),
            facts=tuple({"source": one.bag[0].source, **one.bag[0].facts} for one in outlined),
            classes=names,
            **{name: tuple(values) for name, values in scored.items()},
        )

    def _pixel_mm(self) -> float:
        # Pictures have no size of a pixel; marks then lie as on a mammogram of so many pixels.
        return Preprocessing().pixel_size_mm


def _commonest(pairs: Sequence[tuple[Pixels, Classes]], classes: int) -> Any:
    counts = sum(np.bincount(mask.reshape(-1), minlength=256)[:classes] for _, mask in pairs)
    first = int(np.argmax(counts))

    def answer(image: Pixels) -> NDArray[np.float32]:
        found = np.zeros((classes, *image.shape[1:]), dtype=np.float32)
        found[first] = 1.0
        return found

    return answer


def _spots(image: Pixels, inside: NDArray[np.bool_], pixel_mm: float) -> NDArray[np.float32]:
    return blobness(image.mean(axis=0), inside, pixel_mm)[None]


def _joined_pixels(parts: Sequence[PixelScores]) -> PixelScores:
    fields = {
        name: tuple(value for part in parts for value in getattr(part, name))
        for name in ("keys", "patients", "folds", "facts", "answers", "model", "trivial", "floor")
    }
    return PixelScores(classes=parts[0].classes, **fields)


def write_assessment(assessment: Assessment, out: Path) -> None:
    """Write ``evaluation.json``, ``table.md`` and ``predictions.csv`` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "task": assessment.recipe.name,
        "rows": [asdict(row) for row in assessment.rows],
        "settings": [asdict(one) for one in assessment.settings],
    }
    (out / "evaluation.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (out / "table.md").write_text(table(assessment.rows), encoding="utf-8")
    with (out / "predictions.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if assessment.classes is not None:
            _write_classes(assessment, writer)
        elif assessment.pixels is not None:
            writer.writerow(("fold", "key", "patient", *assessment.pixels.classes))
            for index, key in enumerate(assessment.pixels.keys):
                values = [f"{value:.4f}" for value in assessment.pixels.model[index].dice()]
                who = assessment.pixels.patients[index]
                writer.writerow((assessment.pixels.folds[index], key, who, *values))


def _write_classes(assessment: Assessment, writer: Any) -> None:
    scores, names = assessment.classes, assessment.recipe.data.classes
    if scores is None:
        return
    writer.writerow(("fold", "key", "patient", "label", *names))
    for index, key in enumerate(scores.keys):
        values = [f"{value:.6f}" for value in scores.model[index]]
        label = names[scores.labels[index]]
        writer.writerow((scores.folds[index], key, scores.patients[index], label, *values))


def read_rows(out: Path) -> tuple[list[Row], list[FoldSettings]]:
    """Read the figures and settings that `assess` wrote.

    Raises
    ------
    ConfigurationError
        When the folder holds no evaluation.
    """
    path = out / "evaluation.json"
    if not path.is_file():
        raise ConfigurationError(f"There is no {path}; run evaluate first.")
    content = json.loads(path.read_text(encoding="utf-8"))

    def estimate(value: Any) -> Estimate | None:
        return None if value is None else Estimate(**value)

    rows = [
        Row(one["subset"], one["name"], Estimate(**one["model"]), estimate(one["trivial"]),
            estimate(one["floor"]))
        for one in content["rows"]
    ]  # fmt: skip
    settings = [
        FoldSettings(**{**one, "calibrator": Calibrator(**one["calibrator"])})
        for one in content["settings"]
    ]
    return rows, settings


def table(rows: Sequence[Row]) -> str:
    """Figures as a Markdown table, the floors beside the model."""
    lines = [
        "| images | figure | model | commonest answer | classical floor | n | patients |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [str(one) if one is not None else "" for one in (row.model, row.trivial, row.floor)]
        lines.append(
            f"| {row.subset} | {row.name} | {' | '.join(cells)} | {row.model.images} "
            f"| {row.model.patients} |"
        )
    return "\n".join(lines) + "\n"
