"""What the devices of a training draw: parts of one draw, another in every epoch."""

from __future__ import annotations

from training.data_module import Drawn

WEIGHTS = [1.0, 0.0, 2.0]


def drawn(count: int, epoch: int, device: int = 0, devices: int = 1) -> list[tuple[int, int]]:
    sampler = Drawn(WEIGHTS, count, 7, device, devices)
    sampler.set_epoch(epoch)
    assert len(sampler) == count
    return list(sampler)


def test_every_epoch_is_another_draw_that_can_be_had_again() -> None:
    assert drawn(12, 0) == drawn(12, 0)
    assert drawn(12, 0) != drawn(12, 1)
    assert {place for place, _ in drawn(50, 0)} == {0, 2}


def test_devices_share_one_draw_and_each_takes_as_many_as_one_alone_would() -> None:
    first, second = (drawn(6, 3, device, 2) for device in (0, 1))

    assert len(first) == len(second) == 6
    assert [one for pair in zip(first, second, strict=True) for one in pair] == drawn(12, 3)
