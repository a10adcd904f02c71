"""Weights are loaded only when pinned, plain, fitting and sound; nothing in them is executed."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_builder import (
    TINY_DENSENET,
    TINY_UNET,
    network_of,
    pinned,
    tiny_config,
    tiny_metadata,
    write_bundle,
)
from scipy.special import expit

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError, ModelRefused
from oncopixel_pacs.infer.bundle import load_network
from oncopixel_pacs.infer.loaded_models import load_models
from oncopixel_pacs.settings import InferenceSettings, ModelSettings

CPU = torch.device("cpu")


def test_the_loaded_network_is_the_saved_one(tmp_path: Path) -> None:
    saved = network_of(TINY_UNET).eval()
    images = torch.rand(2, 1, 48, 16)
    with torch.inference_mode():
        answer = load_network(write_bundle(tmp_path / "b"), CPU)(images)
        assert torch.equal(answer, saved(images))


def test_dropout_and_batch_norm_are_in_evaluation_mode(tmp_path: Path) -> None:
    definition = TINY_UNET | {"dropout": 0.5, "norm": "BATCH"}
    weights = network_of(definition).state_dict()
    model = write_bundle(
        tmp_path / "b", config=tiny_config() | {"network_def": definition}, weights=weights
    )
    network, images = load_network(model, CPU), torch.rand(1, 1, 32, 32)
    assert torch.equal(network(images), network(images))


def test_sliding_window_reads_images_larger_than_its_window(tmp_path: Path) -> None:
    inferer = {
        "_target_": "monai.inferers.SlidingWindowInferer",
        "roi_size": [32, 32],
        "overlap": 0.25,
        "mode": "gaussian",
    }
    model = write_bundle(tmp_path / "b", config=tiny_config() | {"inferer": inferer})
    with torch.inference_mode():
        assert load_network(model, CPU)(torch.rand(1, 1, 70, 41)).shape == (1, 1, 70, 41)


@pytest.mark.parametrize(
    "network",
    [
        {
            "_target_": "BasicUNet",
            "spatial_dims": 2,
            "features": [4, 4, 8, 8, 8, 4],
            "out_channels": 1,
        },
        {"_target_": "SegResNet", "spatial_dims": 2, "out_channels": 1, "init_filters": 8},
        {
            "_target_": "AttentionUnet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 1,
            "channels": [4, 8],
            "strides": [2],
        },
        {
            "_target_": "DynUNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 1,
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [4, 8, 8],
            "norm_name": ["INSTANCE", {"affine": True}],
        },
    ],
    ids=lambda network: network["_target_"],
)
def test_listed_segmenters_can_be_loaded(network: dict[str, Any], tmp_path: Path) -> None:
    weights = network_of(network).state_dict()
    model = write_bundle(
        tmp_path / "b", config=tiny_config() | {"network_def": network}, weights=weights
    )
    assert load_network(model, CPU)(torch.rand(1, 1, 64, 32)).shape == (1, 1, 64, 32)


@pytest.mark.parametrize(
    "network",
    [
        {
            "_target_": "ResNet",
            "block": "basic",
            "layers": [1, 1, 1, 1],
            "block_inplanes": [4, 4, 8, 8],
            "spatial_dims": 2,
            "n_input_channels": 1,
            "num_classes": 1,
        },
        {
            "_target_": "Classifier",
            "in_shape": [1, 64, 32],
            "classes": 1,
            "channels": [4, 8],
            "strides": [2, 2],
        },
    ],
    ids=lambda network: network["_target_"],
)
def test_listed_classifiers_can_be_loaded(network: dict[str, Any], tmp_path: Path) -> None:
    weights = network_of(network).state_dict()
    model = write_bundle(
        tmp_path / "b",
        ModelTask.CLASSIFY,
        config=tiny_config() | {"network_def": network},
        weights=weights,
    )
    assert load_network(model, CPU)(torch.rand(3, 1, 64, 32)).shape == (3, 1)


class Payload:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("CANARY",)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_in_the_weights_is_not_run(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "b")
    path = tmp_path / "b" / "models" / "model.pt"
    if zipped:
        torch.save({"weight": Payload()}, path)
    else:
        path.write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(ModelRefused, match="not a plain file of tensors"):
        load_network(pinned(tmp_path / "b", ModelTask.SEGMENT), CPU)
    assert not (tmp_path / "CANARY").exists()


def test_other_weights_than_the_pinned_ones_are_not_even_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_bundle(tmp_path / "b")
    torch.save(network_of(TINY_UNET).state_dict() | {"more": 1}, model.bundle / "models/model.pt")
    monkeypatch.setattr(torch, "load", lambda *_args, **_more: pytest.fail("parsed"))
    with pytest.raises(ModelRefused, match="is pinned"):
        load_network(model, CPU)


def test_the_bytes_that_are_hashed_are_the_bytes_that_are_parsed(tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "b")
    path = model.bundle / "models" / "model.pt"
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)  # gives its content once; a second read would wait for ever
    writer = threading.Thread(target=path.write_bytes, args=(content,), daemon=True)
    writer.start()
    assert load_network(model, CPU)(torch.rand(1, 1, 32, 32)).shape == (1, 1, 32, 32)
    writer.join()


def weights_of(definition: dict[str, Any] = TINY_UNET) -> dict[str, Any]:
    return dict(network_of(definition).state_dict())


def with_nan() -> dict[str, Any]:
    weights = weights_of()
    next(iter(weights.values())).view(-1)[0] = float("nan")
    return weights


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({f"net.{key}": value for key, value in weights_of().items()}, "without the prefix"),
        (dict(list(weights_of().items())[1:]), "1 missing such as"),
        (weights_of() | {"extra": torch.zeros(1)}, "1 unknown such as"),
        (weights_of(TINY_UNET | {"channels": [4, 9]}), "has shape"),
        ({"state_dict": weights_of(), "epoch": 3}, "more than named tensors"),
        ([1, 2], "no state dict"),
        (with_nan(), "NaN or infinity"),
        (weights_of() | {"s": torch.zeros(2, 2).to_sparse()}, "not a dense tensor"),
    ],
    ids=["prefix", "missing", "extra", "shape", "checkpoint", "list", "nan", "sparse"],
)
def test_weights_that_do_not_fit_are_refused(
    weights: object, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelRefused, match=sentence):
        load_network(write_bundle(tmp_path / "b", weights=weights), CPU)


def test_a_network_that_would_fill_the_memory_is_never_allocated(tmp_path: Path) -> None:
    huge = TINY_UNET | {"channels": [2048] * 8, "strides": [2] * 7, "kernel_size": 99}
    model = write_bundle(
        tmp_path / "b", config=tiny_config() | {"network_def": huge}, weights=weights_of()
    )
    with pytest.raises(ModelRefused, match="names of its weights do not fit"):
        load_network(model, CPU)


@pytest.mark.parametrize(
    ("definition", "task", "sentence"),
    [
        (TINY_UNET | {"out_channels": 3}, ModelTask.SEGMENT, r"answers \(1, 3, 64, 32\)"),
        (TINY_UNET, ModelTask.CLASSIFY, r"answers \(1, 1, 64, 32\)"),
        (TINY_DENSENET, ModelTask.SEGMENT, r"answers \(1, 1\) "),
        (TINY_UNET | {"in_channels": 3}, ModelTask.SEGMENT, "does not run on the 64 x 32"),
        (TINY_UNET | {"spatial_dims": 3}, ModelTask.SEGMENT, "does not run on the 64 x 32"),
    ],
    ids=["channels", "map for a score", "score for a map", "colour", "volume"],
)
def test_a_network_that_answers_something_else_is_refused(
    definition: dict[str, Any], task: ModelTask, sentence: str, tmp_path: Path
) -> None:
    model = write_bundle(
        tmp_path / "b",
        task,
        config=tiny_config() | {"network_def": definition},
        weights=weights_of(definition),
    )
    with pytest.raises(ModelRefused, match=sentence):
        load_network(model, CPU)


def test_arguments_that_make_no_sense_together_are_refused(tmp_path: Path) -> None:
    definition = TINY_UNET | {"strides": []}
    model = write_bundle(tmp_path / "b", config=tiny_config() | {"network_def": definition})
    with pytest.raises(ModelRefused, match="cannot be built"):
        load_network(model, CPU)


def test_a_network_that_answers_nan_is_refused(tmp_path: Path) -> None:
    weights = {key: torch.full_like(value, 3e38) for key, value in weights_of().items()}
    with pytest.raises(ModelRefused, match="answers NaN or infinity"):
        load_network(write_bundle(tmp_path / "b", weights=weights), CPU)


def both(tmp_path: Path) -> list[ModelSettings]:
    return [write_bundle(tmp_path / task, task) for task in ModelTask]


def test_both_models_give_probabilities(tmp_path: Path) -> None:
    models = load_models(both(tmp_path), InferenceSettings(device="cpu"))
    images = np.random.default_rng(0).random((2, 1, 64, 32), dtype=np.float32)
    assert models.classifier and models.segmenter and models.device == "cpu"
    scores, maps = (m.probabilities(images) for m in (models.classifier, models.segmenter))
    assert (scores.shape, maps.shape) == ((2,), (2, 64, 32))
    for answer in (scores, maps):
        assert answer.dtype == np.float32
        assert 0 <= answer.min() <= answer.max() <= 1


def test_the_second_channel_of_softmax_is_the_probability(tmp_path: Path) -> None:
    definition = TINY_DENSENET | {"out_channels": 2}
    weights = weights_of(definition)
    weights["class_layers.out.weight"].zero_()
    weights["class_layers.out.bias"].copy_(torch.tensor([0.0, 3.0]).log1p())  # odds of 1 to 4
    model = write_bundle(
        tmp_path / "b",
        ModelTask.CLASSIFY,
        config=tiny_config() | {"network_def": definition},
        metadata=tiny_metadata(ModelTask.CLASSIFY, channels=2),
        weights=weights,
    )
    classifier = load_models([model], InferenceSettings(device="cpu")).classifier
    assert classifier is not None
    scores = classifier.probabilities(np.ones((1, 1, 64, 32), dtype=np.float32))
    assert scores == pytest.approx([0.8])


def test_a_classifier_is_calibrated_as_its_bundle_says_with_its_operating_point(
    tmp_path: Path,
) -> None:
    weights = weights_of(TINY_DENSENET)
    weights["class_layers.out.weight"].zero_()
    weights["class_layers.out.bias"].fill_(2.0)
    metadata = tiny_metadata(ModelTask.CLASSIFY)
    calibration = {"kind": "platt", "slope": 0.5, "shift": -2.0}
    own, calibrated = (
        write_bundle(
            tmp_path / name,
            ModelTask.CLASSIFY,
            metadata=metadata | extra,
            weights=weights,
            threshold=0.5,
        )
        for name, extra in (("own", {}), ("calibrated", {"calibration": calibration}))
    )
    image = np.ones((1, 1, 64, 32), dtype=np.float32)
    found = {}
    for model in (own, calibrated):
        (loaded,) = load_models([model], InferenceSettings(device="cpu")).models
        found[model.bundle.name] = (
            float(loaded.probabilities(image)[0]),
            loaded.algorithm.threshold,
        )

    assert found["own"] == (pytest.approx(expit(2.0)), 0.5)
    assert found["calibrated"] == pytest.approx((expit(0.5 * 2.0 - 2.0), expit(-2.0)), abs=1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no usable GPU"):
        load_models(both(tmp_path), InferenceSettings(device="cuda"))
