"""What the server will refuse is said before it is trained."""

from __future__ import annotations

import pytest

from training.recipe import Recipe, load_recipe, recipe_names
from training.served import why_not_served


def of(name: str, *classes: str) -> Recipe:
    recipe = load_recipe(name)
    data = recipe.data.model_copy(update={"classes": classes})
    return recipe.model_copy(update={"data": data})


def test_of_the_shipped_recipes_the_server_refuses_one() -> None:
    refused = [name for name in recipe_names() if why_not_served(load_recipe(name))]

    assert refused == ["mammo-views"]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (of("mammo-classifier", "normal", "benign", "malignant"), "two classes, not 3"),
        (of("mammo-classifier", "malignant", "benign"), "probability of malignancy"),
        (of("mammo-multitask", "a", "b", "c", "malignant"), "two classes, not 4"),
        (of("mammo-segmenter", "background", "mass", "calcification"), "not 3 classes"),
        (load_recipe("mammo-views"), "2 views"),
    ],
)
def test_what_the_server_will_refuse_is_said(recipe: Recipe, said: str) -> None:
    assert said in why_not_served(recipe)
