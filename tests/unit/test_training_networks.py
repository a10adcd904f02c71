"""Networks go by name, and published weights are loaded key by key."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path

import pytest
import torch
from monai.networks import nets
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.infer import networks
from oncopixel_pacs.infer.bundle import load_unprobed
from oncopixel_pacs.infer.bundle_config import NETWORKS
from oncopixel_pacs.infer.bundle_config import OWN_NETWORKS as ALLOWED
from oncopixel_pacs.infer.networks import AttentionMIL, VisionTransformer
from oncopixel_pacs.settings import ModelSettings
from training.bundle_metadata import inference
from training.network_names import NAMED, describe_network
from training.recipe import Recipe, load_recipe, recipe_names
from training.run_record import digest_file
from training.vit_weights import load_vit

SMALL: dict[str, dict[str, object]] = {
    "AttentionMIL": {"channels": [4, 4, 8, 8], "layers": [1, 1, 1, 1], "hidden": 4},
    "AttentionUnet": {"channels": [4, 8], "strides": [2]},
    "BasicUNet": {"features": [4, 4, 4, 8, 8, 4]},
    "DenseNet121": {"init_features": 8, "growth_rate": 4, "block_config": [1, 1, 1, 1]},
    "EfficientNet": {},
    "HybridTransformer": {"channels": [8, 8, 16, 16], "layers": [1] * 4, "num_heads": [2] * 4},
    "MultiTaskUNet": {"features": [4, 4, 4, 8, 8, 4]},
    "PatchToImage": {"channels": [4, 4, 8, 8], "layers": [1, 1, 1, 1]},
    "ResNet": {"block": "basic", "layers": [1] * 4, "block_inplanes": [4, 4, 8, 8]},
    "ResNet50": {"block_inplanes": [4, 4, 8, 8], "layers": [1] * 4},
    "SENet": {"layers": [1, 1, 1, 1]},
    "SegResNet": {"init_filters": 8},
    "SwinUNETR": {"feature_size": 12, "depths": [1] * 4, "num_heads": [1, 2, 2, 4]},
    "UNETR": {"hidden_size": 24, "mlp_dim": 48, "num_heads": 2, "feature_size": 4},
    "UNet": {"channels": [4, 8], "strides": [2]},
    "VGG16BN": {"channels": [4, 4, 8, 8, 8], "hidden": 8},
    "ViT": {"hidden_size": 24, "mlp_dim": 48, "num_layers": 1, "num_heads": 2},
}


def recipe_for(name: str) -> Recipe:
    kind = {"MultiTaskUNet": "multitask"}.get(
        name, "segment" if NAMED[name].segments else "classify"
    )
    base = load_recipe("mammo-multitask" if kind == "multitask" else "brain-mri-vit")
    data = base.data.model_copy(update={"size": (64, 64)})
    network = base.network.model_copy(update={"name": name, "arguments": SMALL[name]})
    return base.model_copy(update={"kind": kind, "data": data, "network": network})


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_name_builds_a_network_with_the_classes_of_the_data(name: str) -> None:
    recipe = recipe_for(name)
    network = describe_network(recipe).make().eval()

    with torch.inference_mode():
        answer = network(torch.rand(2, 1, 64, 64))

    if recipe.kind == "multitask":
        assert [tuple(one.shape) for one in answer] == [(2, 1, 64, 64), (2, 1)]
    else:
        wanted = (2, 4, 64, 64) if recipe.kind == "segment" else (2, 4)
        assert tuple(answer.shape) == wanted


@pytest.mark.parametrize("name", sorted(NAMED))
def test_the_server_allows_every_argument_that_a_recipe_may_name(name: str) -> None:
    built = describe_network(recipe_for(name))
    allowed = {**NETWORKS, **ALLOWED}[built.target]

    assert set(built.arguments) <= allowed


def test_the_allow_list_names_arguments_that_exist() -> None:
    for name, arguments in ALLOWED.items():
        assert arguments <= set(inspect.signature(getattr(networks, name).__init__).parameters)
    assert set(ALLOWED) == set(networks.__all__)
    for name in ("UNETR", "SwinUNETR"):
        assert NETWORKS[name] <= set(inspect.signature(getattr(nets, name).__init__).parameters)


def test_an_unknown_network_or_a_wrong_kind_is_one_sentence() -> None:
    base = load_recipe("brain-mri-vit")
    for name, sentence in (("Nothing", "choose among"), ("UNet", "does not classify")):
        network = base.network.model_copy(update={"name": name})
        with pytest.raises(ConfigurationError, match=sentence):
            describe_network(base.model_copy(update={"network": network}))


@pytest.mark.parametrize("name", recipe_names())
def test_the_full_networks_of_the_recipes_exist(name: str) -> None:
    built = describe_network(load_recipe(name))
    # MONAI's SwinUNETR reads values of a tensor while it is built.
    with torch.device("cpu" if built.target == "SwinUNETR" else "meta"):
        network = built.make()

    assert sum(value.numel() for value in network.parameters()) > 100_000


def test_attention_forgets_missing_views() -> None:
    network = AttentionMIL(1, 1, channels=[4, 4, 8, 8], layers=[1, 1, 1, 1]).eval()
    view = torch.rand(1, 1, 1, 64, 64)

    with torch.inference_mode():
        alone = network(view)
        padded = network(torch.cat([view, torch.zeros_like(view)], dim=1))

    assert torch.allclose(alone, padded, atol=1e-6)


WIDTH, HEADS, LAYERS, PATCH, SIDE = 24, 2, 2, 16, 64


def checkpoint(folder: Path, *, side: int = SIDE, prefix: str = "vit.") -> dict[str, Tensor]:
    """Write a ViT of Hugging Face's layout, as ``google/vit-base-patch16-224`` but small."""
    draw = torch.Generator().manual_seed(1)

    def value(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw) * 0.1

    cells = (side // PATCH) ** 2
    weights = {
        "embeddings.cls_token": value(1, 1, WIDTH),
        "embeddings.position_embeddings": value(1, cells + 1, WIDTH),
        "embeddings.patch_embeddings.projection.weight": value(WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": value(WIDTH),
        "layernorm.weight": value(WIDTH) + 1,
        "layernorm.bias": value(WIDTH),
    }
    for number in range(LAYERS):
        block = f"encoder.layer.{number}."
        for name in ("query", "key", "value"):
            weights[f"{block}attention.attention.{name}.weight"] = value(WIDTH, WIDTH)
            weights[f"{block}attention.attention.{name}.bias"] = value(WIDTH)
        weights[f"{block}attention.output.dense.weight"] = value(WIDTH, WIDTH)
        weights[f"{block}attention.output.dense.bias"] = value(WIDTH)
        weights[f"{block}intermediate.dense.weight"] = value(2 * WIDTH, WIDTH)
        weights[f"{block}intermediate.dense.bias"] = value(2 * WIDTH)
        weights[f"{block}output.dense.weight"] = value(WIDTH, 2 * WIDTH)
        weights[f"{block}output.dense.bias"] = value(WIDTH)
        for name in ("layernorm_before", "layernorm_after"):
            weights[f"{block}{name}.weight"] = value(WIDTH) + 1
            weights[f"{block}{name}.bias"] = value(WIDTH)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "vit", "num_hidden_layers": LAYERS}
    (folder / "config.json").write_text(json.dumps(config))
    stored = {f"{prefix}{key}": tensor for key, tensor in weights.items()}
    stored["classifier.weight"], stored["classifier.bias"] = value(1000, WIDTH), value(1000)
    save_file(stored, folder / "model.safetensors")
    return weights


def reference(weights: dict[str, Tensor], image: Tensor) -> Tensor:
    """Give the class token after the last normalisation, computed from the paper's definition."""
    cells = functional.conv2d(
        image,
        weights["embeddings.patch_embeddings.projection.weight"],
        weights["embeddings.patch_embeddings.projection.bias"],
        stride=PATCH,
    )
    cells = cells.flatten(2).transpose(1, 2)
    token = weights["embeddings.cls_token"].expand(len(image), -1, -1)
    state = torch.cat([token, cells], dim=1) + weights["embeddings.position_embeddings"]

    def norm(value: Tensor, name: str) -> Tensor:
        return functional.layer_norm(
            value, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-12
        )

    def dense(value: Tensor, name: str) -> Tensor:
        return value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    for number in range(LAYERS):
        block = f"encoder.layer.{number}."
        seen = norm(state, f"{block}layernorm_before")
        heads = [
            dense(seen, f"{block}attention.attention.{name}")
            .reshape(len(image), -1, HEADS, WIDTH // HEADS)
            .transpose(1, 2)
            for name in ("query", "key", "value")
        ]
        share = (heads[0] @ heads[1].transpose(2, 3) / math.sqrt(WIDTH // HEADS)).softmax(dim=-1)
        mixed = (share @ heads[2]).transpose(1, 2).flatten(2)
        state = state + dense(mixed, f"{block}attention.output.dense")
        fed = functional.gelu(
            dense(norm(state, f"{block}layernorm_after"), f"{block}intermediate.dense")
        )
        state = state + dense(fed, f"{block}output.dense")
    return norm(state, "layernorm")[:, 0]


def small_vit(channels: int = 3, layers: int = LAYERS, side: int = SIDE) -> VisionTransformer:
    return VisionTransformer(
        channels,
        WIDTH,
        img_size=(side, side),
        hidden_size=WIDTH,
        mlp_dim=2 * WIDTH,
        num_layers=layers,
        num_heads=HEADS,
    ).eval()


@pytest.mark.parametrize("prefix", ["vit.", ""])
def test_a_hugging_face_vit_gives_the_same_features_in_ours(tmp_path: Path, prefix: str) -> None:
    weights = checkpoint(tmp_path, prefix=prefix)
    network = small_vit()

    loaded = load_vit(tmp_path, network)

    with torch.inference_mode():
        network.classification_head.weight.copy_(torch.eye(WIDTH))
        network.classification_head.bias.zero_()
        image = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
        assert torch.allclose(network(image), reference(weights, image), atol=1e-5)
    assert loaded.unused == ("classifier.bias", "classifier.weight")
    assert {key.split(".")[0] for key in loaded.fresh} == {"classification_head", "blocks"}


def test_one_channel_takes_the_sum_and_another_size_resamples_positions(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    grey, large = small_vit(1), small_vit(side=96)

    load_vit(tmp_path, grey)
    load_vit(tmp_path, large)

    image = torch.rand(1, 1, SIDE, SIDE)
    colour = small_vit()
    load_vit(tmp_path, colour)
    with torch.inference_mode():
        first = colour.patch_embedding(image.repeat(1, 3, 1, 1))
        assert torch.allclose(grey.patch_embedding(image), first, atol=1e-5)
    assert large.patch_embedding.position_embeddings.shape == (1, 36, WIDTH)


def test_a_bundle_of_every_transformer_is_served(tmp_path: Path) -> None:
    for name in ("SwinUNETR", "UNETR", "ViT", "HybridTransformer", "VGG16BN"):
        built = describe_network(recipe_for(name))
        network = built.make().eval()
        for part in ("configs", "models"):
            (tmp_path / name / part).mkdir(parents=True)
        weights = tmp_path / name / "models" / "model.pt"
        torch.save(network.state_dict(), weights)
        config = json.dumps(inference(built.path, built.arguments))
        (tmp_path / name / "configs" / "inference.json").write_text(config)
        model = ModelSettings(
            name=name,
            task=ModelTask.CLASSIFY,
            bundle=tmp_path / name,
            sha256=digest_file(weights),
            threshold=0.5,
        )
        image = torch.rand(1, 1, 64, 64)
        with torch.inference_mode():
            served = load_unprobed(model, torch.device("cpu"))(image)
            assert torch.allclose(served, network(image), atol=1e-6)


def test_a_checkpoint_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    with pytest.raises(ConfigurationError, match="does not fit the network: .*not filled"):
        load_vit(tmp_path, small_vit(layers=LAYERS + 1))
    with pytest.raises(ConfigurationError, match="holds no model.safetensors"):
        load_vit(tmp_path / "nowhere", small_vit())
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_vit(tmp_path, small_vit())
