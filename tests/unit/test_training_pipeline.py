"""The pipeline of the shipped models names commands, options and tasks that exist, in order."""

from __future__ import annotations

import shlex
from pathlib import Path
from string import Template

import typer
import yaml

from training.cli import app
from training.task import task_names

ROOT = Path(__file__).parents[2]


def test_the_pipeline_runs_commands_that_exist_on_what_came_before() -> None:
    chosen = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    # DVC puts the values of params.yaml in, which Template knows how to write.
    pipeline = Template((ROOT / "dvc.yaml").read_text("utf-8")).substitute(chosen)
    stages = yaml.safe_load(pipeline)["stages"]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    made: set[str] = set()

    for stage in stages.values():
        program, name, *arguments = shlex.split(stage["cmd"])
        options = {option for one in commands[name].params for option in one.opts}
        assert program == "oncopixel-train"
        assert {word for word in arguments if word.startswith("--")} <= options
        assert arguments[arguments.index("--task") + 1] in task_names()
        for needed in stage["deps"]:
            assert needed == "data" or needed in made or (ROOT / needed).exists()
        made |= set(stage["outs"]) | {key for one in stage.get("metrics", ()) for key in one}

    assert chosen["data"] == "data"
    assert {"runs/bundles/segmenter", "runs/bundles/classifier"} <= made
