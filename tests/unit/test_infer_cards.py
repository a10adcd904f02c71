"""What a model says of itself is checked against the configuration and the server."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundle_builder import tiny_metadata, write_bundle

from oncopixel_pacs.domain import Algorithm, Laterality, ModelTask, View
from oncopixel_pacs.domain.requirements import Requirements
from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.infer.cards import models_digest, read_algorithms, read_candidates, read_card
from oncopixel_pacs.settings import ModelSettings, RuleSettings

ALGORITHM = Algorithm("m", "1", ModelTask.SEGMENT, "a" * 64, "b" * 64, 0.5, "Test")


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "s", threshold=0.25)


def test_algorithm_states_weights_preprocessing_and_threshold(segmenter: ModelSettings) -> None:
    (algorithm,) = read_algorithms([segmenter])
    assert len(algorithm.configuration_sha256) == 64
    assert replace(algorithm, configuration_sha256="") == Algorithm(
        name="tiny-segment",
        version="1.2.3",
        task=ModelTask.SEGMENT,
        weights_sha256=segmenter.sha256,
        preprocessing_sha256=tiny_metadata()["oncopixel"]["preprocessing_sha256"],
        threshold=0.25,
        manufacturer="Test",
    )


def test_what_a_bundle_states_beside_its_weights_is_part_of_what_a_result_comes_from(
    tmp_path: Path,
) -> None:
    """The same weights answer otherwise behind another inferer, or with another calibration."""
    model = write_bundle(tmp_path / "b", ModelTask.CLASSIFY)
    found = [*read_algorithms([model])]
    for name in ("inference.json", "metadata.json"):
        path = model.bundle / "configs" / name
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        found += read_algorithms([model])
    assert len({models_digest([item], "1") for item in found}) == 3


def test_one_model_of_each_task_or_one_alone_can_be_run(
    segmenter: ModelSettings, tmp_path: Path
) -> None:
    classifier = write_bundle(tmp_path / "c", ModelTask.CLASSIFY)
    for models in ([segmenter], [classifier], [classifier, segmenter]):
        assert [item.name for item in read_algorithms(models)] == [item.name for item in models]


def test_a_rule_is_part_of_what_a_result_comes_from(segmenter: ModelSettings) -> None:
    rules = [RuleSettings(), RuleSettings(modalities=("MG",)), RuleSettings(modalities=("MR",))]
    models = [segmenter.model_copy(update={"rule": rule}) for rule in rules]
    algorithms = [read_algorithms([model])[0] for model in models]
    assert algorithms[0].rule_sha256 == ""
    assert len({models_digest([item], "1") for item in algorithms}) == 3
    assert [item.rule for item in read_candidates(models)] == [rule.as_rule() for rule in rules]


def test_no_model_is_refused() -> None:
    with pytest.raises(ModelRefused, match="No model is configured"):
        read_algorithms([])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sha256": "0" * 64}, "is pinned; restore the file, or pin the new digest"),
        ({"task": ModelTask.CLASSIFY}, "the configuration says task classify, .* segment"),
        ({"bundle": Path("nowhere")}, "metadata.json cannot be read .* check the model's bundle"),
    ],
    ids=["digest", "task", "folder"],
)
def test_a_wrong_setting_is_refused(
    change: dict[str, Any], sentence: str, segmenter: ModelSettings
) -> None:
    with pytest.raises(ModelRefused, match=f"^Model tiny-segment: .*{sentence}"):
        read_algorithms([segmenter.model_copy(update=change)])


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "b")
    (model.bundle / "models" / "model.pt").unlink()
    with pytest.raises(ModelRefused, match=r"model\.pt cannot be read .* restore the file"):
        read_algorithms([model])


def test_another_preprocessing_is_refused(tmp_path: Path) -> None:
    metadata = tiny_metadata()
    metadata["oncopixel"]["preprocessing_sha256"] = "1" * 64
    with pytest.raises(ModelRefused, match="trained with preprocessing 111111111111…, but"):
        read_algorithms([write_bundle(tmp_path / "b", metadata=metadata)])


def test_a_model_of_several_views_together_is_refused(tmp_path: Path) -> None:
    metadata = tiny_metadata()
    metadata["preprocessing"] = {"kind": "breast", "views": 2}
    with pytest.raises(ModelRefused, match="reads 2 views of a breast together"):
        read_algorithms([write_bundle(tmp_path, metadata=metadata)])
    metadata["preprocessing"] = "as its authors did it"
    assert read_algorithms([write_bundle(tmp_path / "other", metadata=metadata)])


@pytest.mark.parametrize("stated", ["2", 2.0, 0, ["CC", "MLO"]])
def test_a_number_of_views_that_is_none_is_refused(tmp_path: Path, stated: object) -> None:
    """``"2"`` counted as one: such a model was asked for one image at a time."""
    metadata = {**tiny_metadata(), "preprocessing": {"kind": "breast", "views": stated}}
    with pytest.raises(ModelRefused, match=r"preprocessing\.views is"):
        read_algorithms([write_bundle(tmp_path, metadata=metadata)])


@pytest.mark.parametrize("channels", [1, 2])
def test_more_classes_than_a_mammogram_has_are_refused(tmp_path: Path, channels: int) -> None:
    metadata = tiny_metadata(ModelTask.CLASSIFY, channels=channels)
    metadata["classes"] = ["normal", "benign", "malignant"]
    with pytest.raises(ModelRefused, match="two classes at most, not 3"):
        read_card(write_bundle(tmp_path, ModelTask.CLASSIFY, metadata=metadata))


def test_pixels_of_another_size_than_the_preprocessing_makes_are_refused(tmp_path: Path) -> None:
    """They decided what is too small for a finding: a tenth of the size left none."""
    metadata = changed("oncopixel.pixel_size_mm", 0.05)
    with pytest.raises(ModelRefused, match=r"pixels of 0\.05 mm, but .* makes pixels of 0\.5 mm"):
        read_algorithms([write_bundle(tmp_path, metadata=metadata)])


def changed(path: str, value: object) -> dict[str, Any]:
    metadata = tiny_metadata()
    *way, last = path.split(".")
    table = metadata
    for key in way:
        table = table[key]
    table[last] = value
    return metadata


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"version": "1"}, "oncopixel: Field required"),
        (changed("oncopixel.activation", "relu"), "oncopixel.activation"),
        (changed("oncopixel.url", "http://x"), "oncopixel.url: Extra inputs"),
        (changed("oncopixel.pixel_size_mm", 0), "oncopixel.pixel_size_mm"),
        (changed("network_data_format.inputs.clicks", {}), "inputs.clicks"),
        (changed("network_data_format.inputs.image.num_channels", 3), "num_channels"),
        (changed("network_data_format.inputs.image.spatial_shape", [64]), "spatial_shape"),
        (changed("network_data_format.inputs.image.spatial_shape", [64, 99999]), "spatial_shape"),
        (changed("network_data_format.inputs.image.spatial_shape", ["*", "*"]), "spatial_shape"),
        (changed("network_data_format.outputs.pred.num_channels", 2), "2 output channels, but"),
        (changed("network_data_format.outputs", {}), "outputs"),
        (changed("calibration", {"kind": "platt"}), "a segmenter has no calibration"),
        (changed("calibration", {"kind": "temperature"}), "calibration is none or platt"),
        (changed("calibration", {"slope": -1.0}), "calibration.slope"),
        (changed("oncopixel.outline_threshold", 1.5), "oncopixel.outline_threshold"),
        (changed("oncopixel.outline_threshold", 0), "oncopixel.outline_threshold"),
        # A validator would hold back every result of such a model.
        (changed("version", "1.0\\2"), "version: .* no backslash"),
        (changed("version", "1.0\n2"), "version: .* no line break"),
        (changed("oncopixel.manufacturer", "A\0B"), "manufacturer: .* no line break"),
        (changed("oncopixel.manufacturer", " "), "manufacturer: .* not blank"),
        (changed("oncopixel.eligibility", {"pixel_size_mm": [0.2, 0.05]}), "least size and then"),
    ],
)
def test_incomplete_or_contradictory_metadata_is_refused(
    metadata: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelRefused, match=sentence):
        read_algorithms([write_bundle(tmp_path / "b", metadata=metadata)])


def test_findings_reach_as_far_as_the_bundle_says_below_the_operating_point(tmp_path: Path) -> None:
    metadata = changed("oncopixel.outline_threshold", 0.4)
    model = write_bundle(tmp_path / "b", metadata=metadata, threshold=0.6)
    configured = [model, model.model_copy(update={"threshold": 0.4})]

    assert [item.outline_threshold for item in read_algorithms(configured)] == [0.4, None]


def test_a_classifier_has_no_outline_threshold(tmp_path: Path) -> None:
    metadata = tiny_metadata(ModelTask.CLASSIFY)
    metadata["oncopixel"]["outline_threshold"] = 0.4
    with pytest.raises(ModelRefused, match="a classifier outlines nothing"):
        read_card(write_bundle(tmp_path / "b", ModelTask.CLASSIFY, metadata=metadata))


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        (["benign", "malignant"], True),
        (["not malignant", "Malignancy"], True),
        (["normal", "breast cancer"], True),
        (["malignant", "benign"], False),
        (["malignancy", "not malignant"], False),
        (["fatty", "dense"], False),
    ],
)
@pytest.mark.parametrize("stated_in", ["classes", "channel_def"])
def test_a_classifier_says_malignancy_of_the_class_that_is_reported_so(
    tmp_path: Path, names: list[str], fits: bool, stated_in: str
) -> None:
    metadata = tiny_metadata(ModelTask.CLASSIFY, channels=2)
    if stated_in == "classes":
        metadata["classes"] = names
    else:
        output = metadata["network_data_format"]["outputs"]["pred"]
        output["channel_def"] = {str(number): names[number] for number in (1, 0)}
    model = write_bundle(tmp_path / "b", ModelTask.CLASSIFY, metadata=metadata)
    if fits:
        assert read_card(model).task is ModelTask.CLASSIFY
        return
    with pytest.raises(ModelRefused, match=f"its last class is '{names[-1]}'"):
        read_card(model)


def test_metadata_that_is_no_json_is_refused(tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "b")
    for content in ("{", "a" * 1_000_001):
        (model.bundle / "configs" / "metadata.json").write_text(content)
        with pytest.raises(ModelRefused, match=r"metadata\.json is"):
            read_algorithms([model])


@pytest.mark.parametrize(
    "other",
    [
        replace(ALGORITHM, weights_sha256="c" * 64),
        replace(ALGORITHM, threshold=0.5000001),
        replace(ALGORITHM, preprocessing_sha256="c" * 64),
        replace(ALGORITHM, name="n"),
        replace(ALGORITHM, version="2"),
        replace(ALGORITHM, outline_threshold=0.4),
    ],
)
def test_digest_changes_with_the_model(other: Algorithm) -> None:
    assert models_digest([other], "0.1.0") != models_digest([ALGORITHM], "0.1.0")


def test_digest_changes_with_software_and_number_of_models_not_with_order() -> None:
    second = replace(ALGORITHM, name="n", task=ModelTask.CLASSIFY)
    both = models_digest([ALGORITHM, second], "0.1.0")
    assert both == models_digest([second, ALGORITHM], "0.1.0")
    assert (
        len({both, models_digest([ALGORITHM], "0.1.0"), models_digest([ALGORITHM], "0.1.1")}) == 3
    )
    assert len(both) == 64


def test_serving_process_never_imports_torch() -> None:
    code = (
        "import sys; import oncopixel_pacs.infer.cards, oncopixel_pacs.infer.device_process, "
        "oncopixel_pacs.infer.label_maps, oncopixel_pacs.infer.reading; "
        "sys.exit(str(sorted({'torch', 'monai'} & sys.modules.keys())) if "
        "{'torch', 'monai'} & sys.modules.keys() else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_models_of_our_own_networks_are_loaded_without_monai() -> None:
    code = (
        "import sys; from oncopixel_pacs.infer.loaded_models import load_models; "
        "from oncopixel_pacs.settings import InferenceSettings, shipped_models; "
        "load_models(shipped_models(), InferenceSettings(device='cpu')); "
        "sys.exit('monai' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bundle_states_which_images_it_reads(tmp_path: Path) -> None:
    stated = {
        "sop_class_uids": ["1.2.840.10008.5.1.4.1.1.1.2"],
        "views": ["CC"],
        "lateralities": ["L"],
        "manufacturers": ["ACME"],
        "pixel_size_mm": [0.05, 0.2],
        "burned_in_annotation": True,
    }
    assert read_card(with_eligibility(tmp_path / "all", stated)).requirements == Requirements(
        sop_class_uids=("1.2.840.10008.5.1.4.1.1.1.2",),
        views=(View.CC,),
        lateralities=(Laterality.LEFT,),
        manufacturers=("ACME",),
        pixel_size_mm=(0.05, 0.2),
        burned_in_annotation=True,
    )


def test_a_bundle_that_states_nothing_asks_nothing(segmenter: ModelSettings) -> None:
    assert read_card(segmenter).requirements == Requirements()


@pytest.mark.parametrize(
    "stated", [{"views": ["XCCL"]}, {"pixel_size_mm": [0.1]}, {"colour": ["red"]}]
)
def test_a_statement_that_means_nothing_is_refused(tmp_path: Path, stated: Any) -> None:
    with pytest.raises(ModelRefused, match=r"oncopixel\.eligibility"):
        read_card(with_eligibility(tmp_path / "odd", stated))


def with_eligibility(folder: Path, stated: dict[str, Any]) -> ModelSettings:
    model = write_bundle(folder)
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["oncopixel"]["eligibility"] = stated
    path.write_text(json.dumps(metadata))
    return model
