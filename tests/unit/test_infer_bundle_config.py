"""A bundle's configuration is read as data: references resolve, everything else is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundle_builder import TINY_UNET, tiny_config, write_bundle

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.infer.bundle_config import BundleConfig, read_config
from oncopixel_pacs.infer.loaded_models import load_models
from oncopixel_pacs.settings import InferenceSettings, ModelSettings


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "honest"
    write_bundle(folder)
    return folder


def bundle_with(honest: Path, folder: Path, text: str, suffix: str = "json") -> ModelSettings:
    shutil.copytree(honest, folder)
    (folder / "configs" / "inference.json").unlink()
    (folder / "configs" / f"inference.{suffix}").write_text(text)
    return ModelSettings(
        name="guest", task=ModelTask.SEGMENT, bundle=folder, sha256="0" * 64, threshold=0.5
    )


def config_of(honest: Path, folder: Path, content: Any) -> BundleConfig:
    return read_config(bundle_with(honest, folder, json.dumps(content)))


def test_network_and_inferer_are_read(honest: Path, tmp_path: Path) -> None:
    config = config_of(honest, tmp_path / "b", tiny_config())
    assert config.network.target == "UNet"
    assert config.network.arguments["channels"] == [4, 8]
    assert (config.inferer.target, config.inferer.arguments) == ("SimpleInferer", {})


def test_references_become_the_literals_they_point_to(honest: Path, tmp_path: Path) -> None:
    content = tiny_config() | {
        "shape": {"features": [[4, 8], [2]]},
        "network_def": TINY_UNET
        | {"channels": "@shape::features::0", "strides": "@shape#features#1"},
    }
    arguments = config_of(honest, tmp_path / "b", content).network.arguments
    assert (arguments["channels"], arguments["strides"]) == ([4, 8], [2])


def test_yaml_says_the_same_as_json(honest: Path, tmp_path: Path) -> None:
    text = yaml.safe_dump(tiny_config())
    from_yaml = read_config(bundle_with(honest, tmp_path / "yaml", text, "yaml"))
    assert from_yaml == config_of(honest, tmp_path / "json", tiny_config())


def test_weights_are_never_fetched_from_elsewhere(honest: Path, tmp_path: Path) -> None:
    network = {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "in_channels": 1}
    for number, extra in enumerate(({}, {"pretrained": True})):
        config = config_of(honest, tmp_path / str(number), {"network_def": network | extra})
        assert config.network.arguments["pretrained"] is False


def network_with(**arguments: Any) -> dict[str, Any]:
    return tiny_config() | {"network_def": TINY_UNET | arguments}


CANARY = "CANARY"
HOSTILE = {
    "function as network": {"network_def": {"_target_": "os.system", "command": f"touch {CANARY}"}},
    "function as inferer": tiny_config()
    | {"inferer": {"_target_": "os.system", "command": f"touch {CANARY}"}},
    "function nobody asks for": tiny_config()
    | {"later": [{"_target_": "os.system", "command": f"touch {CANARY}"}]},
    "other class of MONAI": {
        "network_def": {"_target_": "monai.bundle.run", "config_file": f"{CANARY}"}
    },
    "import in imports": tiny_config() | {"imports": ["$import os"]},
    "expression as argument": network_with(out_channels=f"$__import__('os').system('{CANARY}')"),
    "expression behind a reference": network_with(out_channels="@evil")
    | {"evil": f"$open('{CANARY}', 'w').close()"},
    "expression behind a space": tiny_config() | {"evil": f"  $open('{CANARY}', 'w')"},
    "expression as key": tiny_config() | {f"$open('{CANARY}', 'w')": 1},
    "allowed expression as argument": network_with(out_channels="$torch.device('cpu')"),
    "file macro": tiny_config() | {"evil": "%../../secret.json::key"},
    "path out of the bundle": network_with(norm="../../../etc/passwd"),
    "absolute path": network_with(act="/etc/passwd"),
    "path to weights": network_with(pretrained="../other/model.pt"),
    "unknown argument": network_with(weight_init="zeros"),
    "huge channels": network_with(channels=[1_000_000, 2_000_000]),
    "huge depth": network_with(num_res_units=65),
    "negative channels": network_with(out_channels=-1),
    "infinite dropout": network_with(dropout=float("inf")),
    "long list": network_with(channels=[4] * 17),
    "deep list": network_with(channels=[[[[4]]]]),
    "option of a layer": network_with(act=["PRELU", {"_desc_": "x", "file": "y"}]),
    "callable layer": network_with(act=["builtins.exec", {}]),
    "component in an argument": network_with(act={"_target_": "UNet"}),
    "call mode": network_with(_mode_="debug"),
    "import by requirement": network_with(_requires_="@evil") | {"evil": 1},
    "circle": network_with(channels="@a") | {"a": "@b", "b": "@a"},
    "self-containing table": {"network_def": {"_target_": "UNet", "act": "@network_def"}},
    "reference to nothing": network_with(channels="@nowhere::0"),
    "reference out of a list": network_with(channels="@list::7") | {"list": []},
    "inferer as network": {"network_def": {"_target_": "SimpleInferer"}},
    "network without a target": {"network_def": {"channels": [4]}},
    "no network": {"bundle_root": "."},
    "doubling references": network_with(channels="@x0")
    | {f"x{n}": [f"@x{n + 1}"] * 10 for n in range(9)}
    | {"x9": 1},
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_configuration_is_refused_and_nothing_runs(
    content: Any, honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = bundle_with(honest, tmp_path / "b", json.dumps(content))
    pin = write_bundle(tmp_path / "pin").sha256
    with pytest.raises(ModelRefused, match=r"^Model guest: .*; export the bundle without it\.$"):
        load_models([model.model_copy(update={"sha256": pin})], InferenceSettings(device="cpu"))
    assert not (tmp_path / CANARY).exists()


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("{", "json"),
        ("[1]", "json"),
        ('{"a": ' * 100_000, "json"),
        (f"!!python/object/apply:os.system ['touch {CANARY}']", "yaml"),
        ("a: &a [x]\nb: *c", "yaml"),
        ("a" * 1_000_001, "json"),
    ],
)
def test_what_cannot_be_parsed_is_refused(
    text: str, suffix: str, honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelRefused, match="cannot be parsed"):
        read_config(bundle_with(honest, tmp_path / "b", text, suffix))
    assert not (tmp_path / CANARY).exists()


def test_yaml_that_multiplies_itself_is_refused(honest: Path, tmp_path: Path) -> None:
    lines = ["a0: &a0 [1]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)
    ]
    with pytest.raises(ModelRefused, match="too large"):
        read_config(bundle_with(honest, tmp_path / "b", "\n".join(lines), "yaml"))


def test_there_must_be_one_configuration(honest: Path, tmp_path: Path) -> None:
    model = bundle_with(honest, tmp_path / "b", json.dumps(tiny_config()))
    (model.bundle / "configs" / "inference.yaml").write_text("{}")
    with pytest.raises(ModelRefused, match="exactly one"):
        read_config(model)
