"""What a child may use is what the machine, or the container, has."""

from __future__ import annotations

from pathlib import Path

import pytest

from oncopixel_pacs.infer import child_limits
from oncopixel_pacs.infer.child_limits import group_limits, most_memory

GIB = 1 << 30
#: What the first version of control groups says where nothing is limited.
UNLIMITED = 9223372036854771712


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def member(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "membership"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def limit(folder: Path, name: str, value: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"{value}\n")


def test_a_unit_may_use_what_it_and_the_slice_above_it_may(tmp_path: Path, mount: Path) -> None:
    limit(mount / "system.slice", "memory.max", 16 * GIB)
    limit(mount / "system.slice" / "oncopixel.service", "memory.max", "max")
    membership = member(tmp_path, "0::/system.slice/oncopixel.service")
    assert list(group_limits(membership, mount)) == [16 * GIB]


def test_a_container_sees_its_group_as_the_root(tmp_path: Path, mount: Path) -> None:
    limit(mount, "memory.max", 8 * GIB)
    for path in ("/", "/kubepods/burstable/pod1/2f6a", "/../../other"):
        assert list(group_limits(member(tmp_path, f"0::{path}"), mount)) == [8 * GIB]


def test_the_first_version_of_groups_names_its_controllers(tmp_path: Path, mount: Path) -> None:
    limit(mount / "memory", "memory.limit_in_bytes", UNLIMITED)
    limit(mount / "memory" / "docker" / "2f6a", "memory.limit_in_bytes", 4 * GIB)
    lines = ("5:devices:/docker/2f6a", "4:memory,hugetlb:/docker/2f6a", "0::/")
    assert list(group_limits(member(tmp_path, *lines), mount)) == [4 * GIB, UNLIMITED]


def test_without_groups_the_machine_is_the_limit(tmp_path: Path, mount: Path) -> None:
    assert list(group_limits(tmp_path / "none", mount)) == []
    assert list(group_limits(member(tmp_path, "0::/user.slice"), mount)) == []


def test_a_child_may_use_four_fifths_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_limits, "group_limits", lambda: iter([UNLIMITED]))
    machine = most_memory()
    assert machine > 0
    monkeypatch.setattr(child_limits, "group_limits", lambda: iter([UNLIMITED, 1 * GIB]))
    assert most_memory() == min(machine, int(0.8 * GIB))
    monkeypatch.undo()
    assert 0 < most_memory() <= machine
