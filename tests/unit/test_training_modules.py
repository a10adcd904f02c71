"""Losses pull where they should, and what is learned on crops holds for whole images."""

from __future__ import annotations

import pytest
import torch

from oncopixel_pacs.domain import ModelTask
from training.modules import Classifier, Segmenter, build_network, module_for
from training.task import NetworkConfig, Phase

CROPS = Phase(kind="crops", size=(64, 64), part_of=(128, 64), steps=5, batch=2, learning_rate=1e-3)
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


def batch() -> dict[str, torch.Tensor]:
    label = torch.zeros(2, 1, 64, 64)
    label[0, 0, 10:30, 10:30] = 1.0
    return {"image": label * 0.8 + 0.1, "label": label, "malignant": torch.tensor([1.0, 0.0])}


@pytest.mark.parametrize(
    ("task", "network", "kind"),
    [(ModelTask.SEGMENT, UNET, Segmenter), (ModelTask.CLASSIFY, RESNET, Classifier)],
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


def test_after_crops_a_whole_image_scores_the_sum_of_its_cells() -> None:
    torch.manual_seed(0)
    network = build_network(RESNET).eval()
    module = Classifier(network, CROPS)
    image = torch.rand(1, 1, 128, 64)
    features: list[torch.Tensor] = []
    handle = network.get_submodule("avgpool").register_forward_pre_hook(
        lambda _, inputs: features.append(inputs[0])
    )
    network(image)
    handle.remove()
    last = network.get_submodule("fc")
    added = (features[0] * last.weight.detach()[0, :, None, None]).sum() + last.bias.detach()[0]

    module.on_fit_end()

    with torch.inference_mode():
        assert float(network(image)[0, 0]) == pytest.approx(float(added), abs=1e-4)
    assert not network.get_submodule("avgpool")._forward_pre_hooks


def test_the_answer_is_a_logit_per_image_and_per_pixel() -> None:
    image = torch.rand(2, 1, 96, 64)

    assert build_network(RESNET)(image).shape == (2, 1)
    assert build_network(UNET)(image).shape == (2, 1, 96, 64)
