"""Losses pull where they should, and pretrained layers learn as the phase says."""

from __future__ import annotations

import pytest
import torch

from oncopixel_pacs.domain import ModelTask
from training.modules import Classifier, Segmenter, build_network, module_for
from training.task import NetworkConfig, Phase

CROPS = Phase(kind="crops", size=(64, 64), steps=5, batch=2, learning_rate=1e-3)
UNET = NetworkConfig(
    target="UNet",
    arguments={
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 1,
        "channels": [4, 8],
        "strides": [2],
    },
)
RESNET = NetworkConfig(
    target="ResNet",
    arguments={
        "block": "basic",
        "layers": [1, 1, 1, 1],
        "block_inplanes": [4, 4, 8, 8],
        "spatial_dims": 2,
        "n_input_channels": 1,
        "num_classes": 1,
        "conv1_t_stride": 2,
    },
)
LITE = NetworkConfig(target="LiteClassifier", arguments={"depth": 12, "features": [8, 8, 8, 8]})


def batch() -> dict[str, torch.Tensor]:
    label = torch.zeros(2, 1, 64, 64)
    label[0, 0, 10:30, 10:30] = 1.0
    return {
        "image": label * 0.8 + 0.1,
        "label": label,
        "malignant": torch.tensor([1.0, 0.0]),
        "located": torch.ones(2),
    }


@pytest.mark.parametrize(
    ("task", "network", "kind"),
    [
        (ModelTask.SEGMENT, UNET, Segmenter),
        (ModelTask.CLASSIFY, RESNET, Classifier),
        (ModelTask.CLASSIFY, LITE, Classifier),
    ],
)
def test_a_few_steps_lower_the_loss(task: ModelTask, network: NetworkConfig, kind: type) -> None:
    torch.manual_seed(0)
    module = module_for(task, build_network(network), CROPS)
    assert isinstance(module, kind)
    optimiser = torch.optim.AdamW(module.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        loss = module.loss(batch())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))

    assert losses[-1] < 0.8 * losses[0]


def test_a_pretrained_encoder_learns_slower_and_its_frozen_layers_not_at_all() -> None:
    network = build_network(LITE)
    frozen = network.get_submodule("encoder._conv_stem")
    frozen.requires_grad_(False)
    phase = CROPS.model_copy(update={"encoder_rate": 0.1})

    configured = module_for(ModelTask.CLASSIFY, network, phase).configure_optimizers()

    rates = {
        id(parameter): group["max_lr"]
        for group in configured["optimizer"].param_groups
        for parameter in group["params"]
    }
    encoder = list(network.get_submodule("encoder._blocks").parameters())
    assert [rates[id(parameter)] for parameter in encoder] == pytest.approx([1e-4] * len(encoder))
    assert rates[id(network.get_submodule("suspicion").weight)] == pytest.approx(1e-3)
    assert not any(id(parameter) in rates for parameter in frozen.parameters())


def test_outlines_teach_where_only_of_images_whose_places_are_known() -> None:
    torch.manual_seed(0)
    module = module_for(ModelTask.CLASSIFY, build_network(LITE).eval(), CROPS)
    assert isinstance(module, Classifier)
    known, other = batch(), batch()
    other["label"] = torch.flip(other["label"], dims=(2, 3))
    unknown = {**known, "located": torch.zeros(2)}
    unknown_other = {**other, "located": torch.zeros(2)}

    assert float(module.loss(known).detach()) != float(module.loss(other).detach())
    assert float(module.loss(unknown).detach()) == float(module.loss(unknown_other).detach())


def test_small_lesions_count_as_much_as_large_ones() -> None:
    module = module_for(ModelTask.SEGMENT, torch.nn.Identity(), CROPS)
    assert isinstance(module, Segmenter)
    label = torch.zeros(2, 1, 64, 64)
    label[0, 0, :32], label[1, 0, :4, :4] = 1.0, 1.0
    logits = label * 20 - 10
    without_small, without_large = logits.clone(), logits.clone()
    without_small[1], without_large[0] = -10.0, -10.0

    lost = [
        float(module.loss({"image": answer, "label": label}))
        for answer in (logits, without_small, without_large)
    ]

    assert lost[1] - lost[0] > 0.45  # half of the images have a Dice of zero


def test_the_answer_is_a_logit_per_image_and_per_pixel() -> None:
    image = torch.rand(2, 1, 96, 64)

    assert build_network(RESNET)(image).shape == (2, 1)
    assert build_network(LITE)(image).shape == (2, 1)
    assert build_network(UNET)(image).shape == (2, 1, 96, 64)
