"""From a trained and scored recipe to MONAI bundles, each with a golden input and output."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError
from training.assessment import FoldSettings, read_rows, table
from training.bundle_files import (
    Bundle,
    new_bundle,
    prove_golden,
    write_golden,
    write_json,
    write_weights,
)
from training.bundle_metadata import (
    INTENDED_USE,
    channels,
    check_metadata,
    describe,
    inference,
    threshold,
)
from training.class_scores import Row
from training.data_module import Items, bags_of
from training.datasets.readers import read_examples
from training.inputs import Preparer
from training.learning import Options, fitted_network
from training.network_names import Built, describe_network
from training.protocol import split_by_patient
from training.recipe import Recipe


def export_recipe(
    recipe: Recipe,
    out: Path,
    options: Options,
    folder: Path,
    *,
    fold: int = 0,
    licence: Path | None = None,
    torchscript: bool = False,
) -> list[Bundle]:
    """Write the bundle of one fold; of a multitask recipe, one for each answer.

    Every bundle is loaded again by the server's strict loader, and its answer to the golden
    input compared, before it is handed over.

    Parameters
    ----------
    folder
        Bundle folder, replaced once the bundle is proved; of a multitask recipe it gets
        ``segmenter`` and ``classifier``.
    licence
        Text of the licence of the weights; the terms of the data are written in any case.
    torchscript
        Whether to write ``models/model.ts`` as well.

    Raises
    ------
    ConfigurationError
        When the fold is not trained or scored, or the bundle does not answer as it should.
    """
    rows, settings = read_rows(out)
    chosen = next((one for one in settings if one.fold == fold), None)
    if chosen is None:
        raise ConfigurationError(f"Fold {fold} of {out} is not evaluated; choose another --fold.")
    network = fitted_network(recipe, out / f"fold-{fold}")
    image = _golden_image(recipe, options, fold)
    if recipe.kind != "multitask":
        jobs = [(recipe.kind, folder)]
    else:
        jobs = [("segment", folder / "segmenter"), ("classify", folder / "classifier")]
    bundles = []
    for answers, place in jobs:
        with new_bundle(place) as made:
            bundle = _write(recipe, answers, network, image, chosen, rows, made, licence)
            if torchscript:
                _trace(_only(network, answers), image, made / "models" / "model.ts")
            prove_golden(bundle)
        bundles.append(replace(bundle, folder=place))
    return bundles


def _golden_image(recipe: Recipe, options: Options, fold: int) -> Tensor:
    """Prepare the first test image, ``(1, channels, height, width)`` or a bag of them."""
    examples = read_examples(recipe.data.sets, options.data, recipe.data.phantoms)
    preparer = Preparer(recipe.data, options.cache)
    readable, _ = preparer.readable(examples)
    parts = split_by_patient(readable, recipe.data, fold=fold, seed=recipe.seed)
    items = Items(bags_of(parts.test[:8], recipe.data), recipe, preparer, None)
    return items[0]["image"][None].contiguous()


def _only(network: torch.nn.Module, answers: str) -> torch.nn.Module:
    if hasattr(network, "answers"):
        network.answers = answers  # type: ignore[assignment]
    return network


def _write(
    recipe: Recipe,
    answers: str,
    network: torch.nn.Module,
    image: Tensor,
    settings: FoldSettings,
    rows: Sequence[Row],
    folder: Path,
    licence: Path | None,
) -> Bundle:
    built = _described(recipe, answers)
    with torch.inference_mode():
        logits: Tensor = _only(network, answers)(image)
    if logits.shape[1] != channels(recipe, answers == "segment"):
        raise ConfigurationError(
            f"{built.target} answers {tuple(logits.shape)}; check its classes."
        )
    sha256 = write_weights(network.state_dict(), folder)
    golden = write_golden(image, logits, folder)
    metadata = describe(recipe, answers, settings, rows, golden)
    check_metadata(metadata)
    write_json(folder / "configs" / "metadata.json", metadata)
    write_json(folder / "configs" / "inference.json", inference(built.path, built.arguments))
    (folder / "docs" / "README.md").write_text(_card(recipe, rows, sha256, metadata), "utf-8")
    terms = licence.read_text(encoding="utf-8") if licence else "Weights: research use only.\n"
    (folder / "docs" / "license.txt").write_text(
        f"{terms}\nTerms of the data that they were trained on: {recipe.data_licence}\n", "utf-8"
    )
    name = recipe.name if recipe.kind != "multitask" else f"{recipe.name}-{answers}"
    cut = threshold(recipe, settings, answers == "segment")
    return Bundle(name, ModelTask(answers), folder, sha256, cut)


def _described(recipe: Recipe, answers: str) -> Built:
    built = describe_network(recipe)
    if recipe.kind != "multitask":
        return built
    return Built(built.target, {**built.arguments, "answers": answers})


def _trace(network: torch.nn.Module, image: Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(network, image)  # type: ignore[no-untyped-call]
    traced.save(str(path))


def _card(recipe: Recipe, rows: Sequence[Row], sha256: str, metadata: dict[str, Any]) -> str:
    calibration = ", ".join(f"{key} {value}" for key, value in metadata["calibration"].items())
    return f"""\
# {recipe.name} {recipe.version}

{recipe.description}

**{INTENDED_USE}**

| | |
|---|---|
| network | `{_target(metadata, recipe)}` |
| input | {metadata["preprocessing"]} |
| classes | {", ".join(metadata["classes"])} |
| calibration | {calibration}; learned on validation patients |
| operating point | {metadata["operating_points"]["default"]:g}, chosen on validation patients |
| SHA-256 of `models/model.pt` | `{sha256}` |
| seed | {recipe.seed} |

## Data and licence

{", ".join(recipe.data.sets)}. {recipe.data_licence}

## Measured

On patients that were used for nothing else. Intervals: 95 %, bootstrap over patients. The floors
are the commonest answer, and trees on hand-made features trained on the same patients.

{table(rows)}"""


def _target(metadata: dict[str, Any], recipe: Recipe) -> str:
    return f"{describe_network(recipe).path} for {metadata['oncopixel']['task']}"
