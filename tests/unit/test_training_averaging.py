"""Averaged weights forget what a network began with, however short the training."""

import pickle

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from training.averaging import WarmAverage


def follow(average: WarmAverage, steps: int) -> float:
    """Average of a weight that is 0 at first and 1 ever after."""
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    averaged = AveragedModel(network, avg_fn=average, use_buffers=True)
    averaged.update_parameters(network)
    torch.nn.init.ones_(network.weight)
    for _ in range(steps):
        averaged.update_parameters(network)
    return float(averaged.module.weight.detach())


def test_after_a_short_training_the_first_weights_are_forgotten() -> None:
    assert follow(get_ema_avg_fn(0.999), 240) == pytest.approx(1 - 0.999**240, abs=1e-4)
    assert follow(WarmAverage(0.999), 240) > 0.999


def test_after_a_long_one_it_is_as_slow_as_it_was_asked_to_be() -> None:
    average = WarmAverage(0.99)

    moved = average(torch.zeros(1), torch.ones(1), torch.tensor(100_000))

    assert float(moved) == pytest.approx(0.01, abs=1e-6)


def test_whole_numbers_are_taken_as_they_are() -> None:
    average = WarmAverage(0.99)

    assert int(average(torch.tensor(1), torch.tensor(7), 3)) == 7


def test_an_average_goes_to_processes_of_several_devices() -> None:
    assert pickle.loads(pickle.dumps(WarmAverage(0.9))) == WarmAverage(0.9)  # noqa: S301 - ours
