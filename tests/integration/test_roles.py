"""What a process needs of the configuration, by its roles."""

from __future__ import annotations

from pathlib import Path

import pytest

from oncopixel_pacs.bootstrap import Role, Server
from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.settings import Settings


def test_a_process_that_only_receives_starts_whatever_is_wrong_with_the_weights(
    tmp_path: Path,
) -> None:
    model = {
        "name": "away",
        "task": "classify",
        "threshold": 0.5,
        "bundle": tmp_path / "not-mounted",
        "sha256": "0" * 64,
    }
    settings = Settings.model_validate(
        {"data_dir": tmp_path / "data", "dimse_port": 0, "http_port": 0, "models": [model]}
    )
    receiving = Server(settings, (Role.RECEIVE,))
    try:
        assert receiving.start().dimse_port
    finally:
        receiving.stop()
    with pytest.raises(ModelRefused, match="away"):
        Server(settings, (Role.WORK,)).start()
