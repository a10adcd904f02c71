"""What a process needs of the configuration, by its roles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from oncopixel_pacs.bootstrap import Role, Server
from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.settings import Settings, load_settings


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


def test_a_second_server_is_refused_before_it_sweeps_what_the_first_one_receives(
    tmp_path: Path,
) -> None:
    config = tmp_path / "oncopixel.toml"
    config.write_text('data_dir = "data"\ndimse_port = 0\n', "utf-8")
    command = [sys.executable, "-m", "oncopixel_pacs", "serve", "--role", "receive"]
    first = Server(load_settings(config), (Role.RECEIVE,))
    try:
        first.start()
        half = tmp_path / "data" / "incoming" / "half.part"
        half.write_bytes(b"DICM")
        done = subprocess.run(
            [*command, "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "Another server (process" in done.stderr
        assert "stop it first" in done.stderr
        assert half.exists()
    finally:
        first.stop()
