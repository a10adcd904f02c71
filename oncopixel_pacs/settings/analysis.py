"""Settings of the work on a study: when it begins, and what runs the models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from oncopixel_pacs.settings.section import PositiveSeconds, Seconds, Section


class CompletionSettings(Section):
    """When a study counts as complete."""

    quiet_seconds: Seconds = 60.0
    """A study settles when no image has come for so long."""
    settle_seconds: Seconds = 1.0
    """The same, once every expected view is there."""
    max_wait_seconds: PositiveSeconds = 1800.0
    """A study settles at the latest so long after its first unsettled image."""
    expected_views: tuple[str, ...] = ("R CC", "L CC", "R MLO", "L MLO")
    """Views whose presence lets a study settle early; empty: only quiet counts."""


class InferenceSettings(Section):
    """The child processes that run the models, one for each device."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes the GPUs where there are any."""
    processes: int = Field(default=0, ge=0, le=64)
    """Child processes; 0 stands for one on each GPU, or one on the CPU. Several on one GPU share
    it by turns."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of each child's models; 0 stands for an equal share of the cores."""
    openers: int = Field(default=0, ge=0, le=256)
    """Images that each child decodes at a time; 0 stands for an equal share of the cores."""
    batch_images: int = Field(default=0, ge=0, le=4096)
    """Images that a model is asked for at a time, of one study or several; 0 stands for 4 on the
    CPU and 32 on a GPU. Where they do not fit into the memory, half as many are tried."""
    studies_at_a_time: int = Field(default=3, ge=1, le=256)
    """Studies that a host has under way, from reading to written results. The same on all hosts
    of a database: the one that started last decides. On GPUs 8 for each."""
    deadline_seconds: PositiveSeconds = 600.0
    """A study that takes longer fails and the child is restarted."""
    memory_mib: int = Field(default=0, ge=0)
    """Memory that the child may use, in MiB, before it is ended and restarted; 0 stands for four
    fifths of the machine's. Memory of a GPU is not counted."""
    max_attempts: int = Field(default=3, ge=1)
    """Attempts at one study before it is reported as failed."""


class ResultSettings(Section):
    """What is asked of results before they are sent, and what the page links to."""

    validators: Literal["auto", "off"] = "auto"
    """``auto`` asks dciodvfy and dsrdump, where they are installed, before anything is sent."""
    validator_seconds: PositiveSeconds = 60.0
    """What they may take for the results of one study; past it they are not asked further."""
    model_card_url: str = ""
    """Where people find the cards of the models; the page of a study links to it."""
