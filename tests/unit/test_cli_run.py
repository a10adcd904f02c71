"""What `oncopixel run` shows of its results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import make_facts, make_result

from oncopixel_pacs.cli.run import _show
from oncopixel_pacs.domain import Concept, ImageResult
from oncopixel_pacs.domain.answers import ClassScore, PictureAnswer, Tissue
from oncopixel_pacs.offline import OfflineStudy

BRAIN = Concept("12738006", "SCT", "Brain")


def test_what_a_model_of_pictures_answers_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    facts = make_facts(1, modality="MR", laterality=None, view=None, instance_number="1")
    classes = (ClassScore("glioma", BRAIN, 0.72), ClassScore("no tumor", BRAIN, 0.28, absence=True))
    tissues = (Tissue(1, "stroma", BRAIN, "2.25.1", 0.31),)
    answer = PictureAnswer(classes, "glioma", tissues, searched=True)
    result = replace(make_result(), images=(ImageResult(facts, picture=answer),))
    _show([OfflineStudy(result, (), (), ())], Path("out"))
    lines = capsys.readouterr().out
    assert "MR 1" in lines
    assert "glioma 72%" in lines
    assert "stroma 31%" in lines
