"""The plots in the documents are well-formed and true to their numbers."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from training.plots import line_plot, smooth

SVG = "{http://www.w3.org/2000/svg}"


def test_a_line_goes_where_its_numbers_say(tmp_path: Path) -> None:
    path = tmp_path / "figures" / "plot.svg"
    line_plot(
        path,
        {"a & b": (np.array([0.0, 5.0, 10.0]), np.array([0.0, 0.5, 1.0]))},
        x_label="false marks",
        y_label="sensitivity",
    )

    root = ElementTree.parse(path).getroot()  # noqa: S314 - our own file
    (line,) = root.iter(f"{SVG}polyline")
    points = np.array([point.split(",") for point in line.attrib["points"].split()], dtype=float)

    assert points[1] == pytest.approx((points[0] + points[2]) / 2)
    assert points[2][0] > points[0][0] and points[2][1] < points[0][1]
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"a & b", "false marks", "sensitivity", "10", "1"} <= set(texts)


def test_a_line_without_points_is_left_out(tmp_path: Path) -> None:
    nothing = np.array([])
    line_plot(tmp_path / "plot.svg", {"a": (nothing, nothing)}, x_label="x", y_label="y")

    root = ElementTree.parse(tmp_path / "plot.svg").getroot()  # noqa: S314 - our own file
    assert not list(root.iter(f"{SVG}polyline"))


def test_a_running_mean_keeps_length_and_level() -> None:
    values = np.array([1.0, 3.0, 5.0, 7.0])

    assert smooth(values, 2) == pytest.approx([1.0, 2.0, 4.0, 6.0])
    assert smooth(np.full(9, 2.5), 4) == pytest.approx(np.full(9, 2.5))
