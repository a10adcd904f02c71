"""Whether the server would read with what a recipe trains, told before the hours that it takes."""

from __future__ import annotations

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.infer.card import require_meant
from training.recipe import Recipe


def why_not_served(recipe: Recipe) -> str:
    """Say why the server will refuse the bundle of a recipe; empty where it will not.

    Such a recipe may be trained and scored all the same: its figures are of research on files.
    """
    data = recipe.data
    if data.reading != "breast":
        return ""
    if data.bag > 1:
        return _said(f"it reads {data.bag} views of a breast together; a served model reads one")
    if recipe.kind == "segment":
        if len(data.classes) <= 2:
            return ""
        return _said(
            f"a served segmenter of mammograms tells lesions from the rest, not "
            f"{len(data.classes)} classes"
        )
    if len(data.classes) != 2:
        return _said(
            f"a served classifier of mammograms has two classes, not {len(data.classes)}; merge "
            "the others into them (data.merge)"
        )
    try:
        require_meant(ModelTask.CLASSIFY, data.classes)
    except ValueError as exc:
        return _said(str(exc))
    return ""


def _said(why: str) -> str:
    return f"The server will not read with this model: {why}."
