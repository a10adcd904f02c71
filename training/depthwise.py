"""A faster backward pass of depthwise convolutions on a CPU.

oneDNN, as PyTorch 2.13 calls it, has no fast kernel for the gradients of kernels of 5 x 5 and for
the gradient of the input where the stride is 2: in bfloat16 they are 20 to 30 times slower than the
forward pass, and take most of a training step of an EfficientNet. What it does fast adds up to the
same numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

_PIECE = 3
_CHANNELS_LAST = torch.channels_last


def speed_up(network: nn.Module) -> None:
    """Let a `LiteUNet` or `LiteClassifier` train faster in bfloat16 on a CPU.

    Encoder and decoder are laid out channels last; the rest is not, since PyTorch 2.13 writes
    beyond its buffers in the backward pass of convolutions of one channel laid out so. Depthwise
    convolutions get another backward pass.

    Parameters
    ----------
    network
        Changed in place. Its weights and answers stay the same; gradients differ by rounding.
    """
    for part in ("encoder", "decoder"):
        network.get_submodule(part).to(memory_format=_CHANNELS_LAST)  # type: ignore[call-overload]
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _gains(module):
            module._conv_forward = _forward_of(module.stride[0])  # type: ignore[method-assign]


def _gains(layer: nn.Conv2d) -> bool:
    (height, width), (down, across) = layer.kernel_size, layer.stride
    return (
        layer.groups == layer.in_channels == layer.out_channels
        and (height, down) == (width, across)
        and layer.bias is None
        and layer.padding == (0, 0)
        and layer.dilation == (1, 1)
        and (height, down) in {(3, 2), (5, 1), (5, 2)}
    )


def _forward_of(stride: int) -> Any:
    def forward(image: Tensor, weight: Tensor, _: Tensor | None) -> Tensor:
        answer: Tensor = _Depthwise.apply(image, weight, stride)  # type: ignore[no-untyped-call]
        return answer

    return forward


class _Depthwise(torch.autograd.Function):
    """Unpadded depthwise convolution of square kernels, of 3 or 5."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, image: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride = stride
        return conv2d(image, weight, stride=stride, groups=image.shape[1])

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        image, weight = ctx.saved_tensors
        (gradient,) = gradients
        of_image = of_weight = None
        if ctx.needs_input_grad[0]:
            of_image = _image_gradient(gradient, weight, ctx.stride)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(image, gradient, weight, ctx.stride)
        return of_image, of_weight, None


def _image_gradient(gradient: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Correlate the gradient, with zeros between its values, with the kernel turned round."""
    count, channels, height, width = gradient.shape
    border = weight.shape[2] - 1
    size = (stride * (side - 1) + 1 + 2 * border for side in (height, width))
    spread = torch.empty(
        (count, channels, *size), dtype=gradient.dtype, memory_format=_CHANNELS_LAST
    ).zero_()
    spread[:, :, border : spread.shape[2] - border : stride, border:-border:stride] = gradient
    return conv2d(spread, weight.flip((2, 3)), groups=channels)


def _weight_gradient(image: Tensor, gradient: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Put the gradient of a kernel together from those of kernels of 3 x 3 within it."""
    size = weight.shape[2]
    of_weight = torch.empty_like(weight)
    offsets = sorted({0, size - _PIECE})
    tall, wide = ((side - 1) * stride + _PIECE for side in gradient.shape[2:])
    for down in offsets:
        for across in offsets:
            seen = image[:, :, down : down + tall, across : across + wide]
            piece = weight[:, :, :_PIECE, :_PIECE]
            _, found, _ = torch.ops.aten.convolution_backward(
                gradient,
                seen.contiguous(memory_format=_CHANNELS_LAST),
                piece,
                None,
                [stride, stride],
                [0, 0],
                [1, 1],
                False,
                [0, 0],
                image.shape[1],
                [False, True, False],
            )
            of_weight[:, :, down : down + _PIECE, across : across + _PIECE] = found
    return of_weight
