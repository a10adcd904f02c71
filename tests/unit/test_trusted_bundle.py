"""What is known of a stranger's bundle before any of it is run: its pins and its table."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.infer.cards import read_algorithms, read_card
from oncopixel_pacs.infer.trusted import confinement
from oncopixel_pacs.infer.trusted.confinement import FORBIDDEN
from oncopixel_pacs.infer.trusted.process import TrustedProcess
from oncopixel_pacs.infer.trusted.stranger_card import Wishes, propose
from oncopixel_pacs.infer.trusted.table import model_table
from oncopixel_pacs.settings import ModelSettings
from tests.trusted_builder import write_zoo_bundle, zoo_metadata, zoo_model

BRAIN = ("12738006", "SCT", "Brain")


def test_densities_have_the_codes_of_dicom(tmp_path: Path) -> None:
    trusted = propose("zoo", write_zoo_bundle(tmp_path / "zoo"), Wishes())
    assert [item.code and item.code[0] for item in trusted.classes] == [
        "129716005",
        "129717001",
        "129718006",
        "129719003",
    ]
    assert trusted.classes[2].name == "Density C: heterogeneously dense"
    assert (trusted.modalities, trusted.site[2]) == (("MG",), "Breast")


def test_letters_of_another_thing_are_no_densities(tmp_path: Path) -> None:
    metadata = {**zoo_metadata(), "task": "Grading", "description": ""}
    trusted = propose("zoo", write_zoo_bundle(tmp_path / "zoo", metadata=metadata), Wishes())
    assert [(item.name, item.code) for item in trusted.classes] == [(x, None) for x in "ABCD"]


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    metadata = zoo_metadata()
    change(metadata["network_data_format"])
    return metadata


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (changed(lambda f: f["outputs"]["pred"].pop("channel_def")), "give each by --class"),
        (changed(lambda f: f["outputs"]["pred"].update(num_channels=1)), "greater than or equal"),
        (changed(lambda f: f["inputs"]["image"].update(num_channels=2)), "num_channels"),
        (changed(lambda f: f["inputs"]["image"].update(modality="X")), "give --modality"),
        (changed(lambda f: f["inputs"]["image"].update(modality="MRI")), "give --site"),
        (changed(lambda f: f["inputs"].update(more={"num_channels": 1})), "inputs"),
        ([], "not a table"),
    ],
)
def test_what_nobody_said_is_asked_for(tmp_path: Path, metadata: Any, words: str) -> None:
    folder = write_zoo_bundle(tmp_path / "zoo")
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ModelRefused, match=words):
        propose("zoo", folder, Wishes())


def test_what_a_person_says_comes_before_what_the_bundle_says(tmp_path: Path) -> None:
    wishes = Wishes(("one", "two", "three", "four"), ("MR", "CT"), BRAIN, "softmax")
    trusted = propose("zoo", write_zoo_bundle(tmp_path / "zoo"), wishes)
    assert [item.name for item in trusted.classes] == list(wishes.classes)
    assert (trusted.modalities, trusted.site, trusted.activation) == (
        ("MR", "CT"),
        BRAIN,
        "softmax",
    )


def test_its_table_is_read_back_as_it_was(tmp_path: Path) -> None:
    model = zoo_model(write_zoo_bundle(tmp_path / "zoo"))
    (entry,) = tomllib.loads(model_table(model))["models"]
    assert ModelSettings.model_validate(entry) == model
    card = read_card(model)
    assert (card.task, card.manufacturer) == (ModelTask.CLASSIFY, "Department of Tests")
    (algorithm,) = read_algorithms([model])
    assert algorithm.version == "0.1.6"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("scripts/steps.py", r"scripts/steps.py is not the file that is pinned"),
        ("configs/inference.json", r"configs/inference.json is not the file"),
        ("models/model.pt", r"models/model.pt is not the file"),
        ("scripts/more.py", r"scripts/more.py is new"),
        ("sitecustomize.py", r"sitecustomize.py is new"),
    ],
)
def test_any_byte_that_changes_refuses_it(tmp_path: Path, path: str, words: str) -> None:
    model = zoo_model(write_zoo_bundle(tmp_path / "zoo"))
    with (model.bundle / path).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(ModelRefused, match=words):
        read_algorithms([model])


def test_a_file_that_is_gone_or_a_link_refuses_it(tmp_path: Path) -> None:
    model = zoo_model(write_zoo_bundle(tmp_path / "zoo"))
    script = model.bundle / "scripts" / "steps.py"
    script.rename(tmp_path / "steps.py")
    with pytest.raises(ModelRefused, match=r"scripts/steps.py is missing"):
        read_algorithms([model])
    script.symlink_to(tmp_path / "steps.py")
    with pytest.raises(ModelRefused, match="is a link"):
        read_algorithms([model])


def test_results_name_another_algorithm_when_anything_of_it_is_another(tmp_path: Path) -> None:
    first = zoo_model(write_zoo_bundle(tmp_path / "one"))
    second = zoo_model(write_zoo_bundle(tmp_path / "two", code="item['pred'] *= 1"))
    (one,), (two,) = read_algorithms([first]), read_algorithms([second])
    assert one.weights_sha256 == two.weights_sha256
    assert one.preprocessing_sha256 != two.preprocessing_sha256


def test_where_it_cannot_be_shut_in_it_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo_model(write_zoo_bundle(tmp_path))
    monkeypatch.setattr(confinement, "_landlock_version", lambda: 2)
    assert model.trusted is not None
    process = TrustedProcess(model, model.trusted, ("image", "pred"))
    with pytest.raises(ModelRefused, match=r"cannot be run: this kernel has no landlock .* Linux"):
        process.start()


def test_the_numbers_of_forbidden_calls_are_those_of_the_kernel() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.is_file():
        pytest.skip("the headers of the kernel are not installed")
    lines = (line.split() for line in header.read_text().splitlines())
    numbers = {line[1]: int(line[2]) for line in lines if len(line) == 3}
    known = {name: x86 for name, (x86, _) in FORBIDDEN.items() if f"__NR_{name}" in numbers}
    assert len(known) > 60
    assert known == {name: numbers[f"__NR_{name}"] for name in known}
