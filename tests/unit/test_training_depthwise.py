"""The faster backward pass gives the gradients of the plain one."""

from __future__ import annotations

import copy

import pytest
import torch

from oncopixel_pacs.infer.networks import LiteClassifier, LiteUNet
from training.depthwise import speed_up


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 1), (5, 2)])
def test_every_gradient_is_that_of_the_plain_convolution(
    kernel: int, stride: int, precision: torch.dtype
) -> None:
    torch.manual_seed(2)
    # A whole encoder would add up its roundings; what is replaced is one layer.
    plain = torch.nn.Conv2d(8, 8, kernel, stride, groups=8, bias=False)
    holder = torch.nn.ModuleDict({"encoder": copy.deepcopy(plain), "decoder": torch.nn.Identity()})
    speed_up(holder)
    image = torch.rand(2, 8, 14 + kernel - stride, 10 + kernel - stride)

    def gradients(layer: torch.nn.Module) -> tuple[torch.Tensor, ...]:
        read = image.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
            answer = layer(read)
        assert answer.dtype is precision
        (answer.float() ** 2).sum().backward()
        assert read.grad is not None
        return answer.detach().float(), read.grad, layer.get_parameter("weight").grad  # type: ignore[return-value]

    tolerance = 1e-5 if precision is torch.float32 else 2e-2
    for fast, wanted in zip(gradients(holder["encoder"]), gradients(plain), strict=True):
        assert fast.shape == wanted.shape
        assert float((fast - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


@pytest.mark.parametrize("kind", [LiteUNet, LiteClassifier])
def test_a_network_answers_and_learns_as_before(kind: type[LiteUNet | LiteClassifier]) -> None:
    torch.manual_seed(2)
    plain = kind(depth=12, features=[8, 8, 8, 16]).eval()
    fast = copy.deepcopy(plain)
    speed_up(fast)
    fast = copy.deepcopy(fast)  # as averaging of weights does
    image = torch.rand(2, 1, 64, 96)

    answers = [network(image) for network in (plain, fast)]
    for answer in answers:
        answer.square().mean().backward()

    assert torch.allclose(answers[0], answers[1], atol=1e-5)
    assert fast.state_dict().keys() == plain.state_dict().keys()
    for name, parameter in plain.named_parameters():
        assert parameter.grad is not None
        found = fast.get_parameter(name).grad
        assert found is not None
        wanted = float(parameter.grad.norm())
        assert float((found - parameter.grad).norm()) <= 1e-3 * wanted + 1e-6, name
