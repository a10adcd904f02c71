"""Configuration: from the file, from the environment, or refused in one sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from oncopixel_pacs.domain import ModelTask, ObjectKind
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings import (
    CStoreDestination,
    FolderDestination,
    Settings,
    load_settings,
    shipped_models,
)
from oncopixel_pacs.settings import models as settings_of_models

DESTINATION = """
[[destinations]]
name = "{name}"
type = "folder"
path = "{path}"
"""
MODEL = """
[[models]]
name = "{name}"
task = "classify"
bundle = "bundles/one"
sha256 = "{sha256}"
threshold = 0.5
"""


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(folder: Path, text: str) -> Path:
    path = folder / "oncopixel.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(config: Path | None = None, **overrides: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(config, **overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_defaults_serve_one_machine(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.data_dir == tmp_path / "oncopixel-data"
    assert settings.resolved_database_url == (
        f"sqlite:///{tmp_path / 'oncopixel-data' / 'oncopixel.sqlite'}"
    )
    assert (settings.ae_title, settings.dimse_port, settings.http_port) == (
        "ONCOPIXEL",
        11112,
        8080,
    )
    assert (settings.dimse_host, settings.http_host) == ("127.0.0.1", "127.0.0.1")


def test_the_file_in_the_working_directory_is_read(tmp_path: Path) -> None:
    write(tmp_path, 'ae_title = "FROM_FILE"')
    assert load_settings().ae_title == "FROM_FILE"


def test_the_environment_wins_over_the_file_and_the_caller_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(tmp_path, 'ae_title = "FILE"\ndimse_port = 1\nhttp_port = 1')
    monkeypatch.setenv("ONCOPIXEL_DIMSE_PORT", "2")
    monkeypatch.setenv("ONCOPIXEL_HTTP_PORT", "2")
    settings = load_settings(config, http_port=3)
    assert (settings.ae_title, settings.dimse_port, settings.http_port) == ("FILE", 2, 3)


def test_one_value_of_a_section_can_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(tmp_path, "[completion]\nquiet_seconds = 7\nsettle_seconds = 1")
    monkeypatch.setenv("ONCOPIXEL_COMPLETION__SETTLE_SECONDS", "2")
    completion = load_settings(config).completion
    assert (completion.quiet_seconds, completion.settle_seconds) == (7, 2)


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    text = 'data_dir = "data"' + DESTINATION.format(name="archive", path="out")
    settings = load_settings(write(folder, text + MODEL.format(name="a", sha256="0" * 64)))
    assert settings.data_dir == folder / "data"
    assert isinstance(settings.destinations[0], FolderDestination)
    assert settings.destinations[0].path == folder / "out"
    assert settings.active_models[0].bundle == folder / "bundles/one"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    text = DESTINATION.format(name="archive", path=tmp_path / "out")
    settings = load_settings(write(tmp_path, text), data_dir=tmp_path / "elsewhere")
    assert isinstance(settings.destinations[0], FolderDestination)
    assert settings.destinations[0].path == tmp_path / "out"
    assert settings.data_dir == tmp_path / "elsewhere"


def test_destinations_are_told_apart_by_their_type(tmp_path: Path) -> None:
    text = """
[[destinations]]
name = "pacs"
type = "cstore"
host = "pacs.example"
port = 104
ae_title = "PACS"
objects = ["sr"]
"""
    (pacs,) = load_settings(write(tmp_path, text)).destinations
    assert isinstance(pacs, CStoreDestination)
    assert pacs.objects == (ObjectKind.SR,)


@pytest.mark.parametrize(
    ("lines", "objects"),
    [
        ("", ["seg", "sr"]),
        ('viewer = "full"', ["seg", "sr"]),
        ('viewer = "basic"', ["seg", "sr", "sc"]),
        ('viewer = "basic"\nobjects = ["sc"]', ["sc"]),
        ('objects = ["gsps", "kos"]', ["gsps", "kos"]),
    ],
)
def test_a_basic_viewer_gets_pictures_unless_told_otherwise(
    tmp_path: Path, lines: str, objects: list[str]
) -> None:
    text = f'[[destinations]]\nname = "a"\ntype = "folder"\npath = "out"\n{lines}\n'
    (destination,) = load_settings(write(tmp_path, text)).destinations
    assert list(destination.objects) == objects


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.ae_title = "OTHER"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("quiet_secnds = 5", "quiet_secnds"),
        ("[completion]\nquiet = 5", "completion.quiet"),
        ("[[peers]]\nae_title = 'A'\nhost = 'x'", "peers.0.host"),
        ("[[peers]]\nae_title = 'MORE_THAN_SIXTEEN'", "peers.0.ae_title"),
        ("ae_title = '   '", "ae_title"),
        ("ae_title = 'BACK\\SLASH'", "ae_title"),
        ("ae_title = ''", "ae_title"),
        ("dimse_port = 70000", "dimse_port"),
        ("[completion]\nquiet_seconds = -1", "completion.quiet_seconds"),
        ("[completion]\nmax_wait_seconds = 0", "completion.max_wait_seconds"),
        ("[completion]\nquiet_seconds = inf", "completion.quiet_seconds"),
        ("[[destinations]]\nname = 'a'\ntype = 'ftp'", "destinations.0"),
        (DESTINATION.format(name="", path="out"), "destinations.0.folder.name"),
        (MODEL.format(name="a", sha256="abc"), "models.0.sha256"),
        (
            DESTINATION.format(name="pacs", path="a") + DESTINATION.format(name="pacs", path="b"),
            "destination name used twice: pacs",
        ),
        (
            MODEL.format(name="m", sha256="0" * 64) + MODEL.format(name="m", sha256="1" * 64),
            "model name used twice: m",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_named(tmp_path: Path, text: str, says: str) -> None:
    sentence = refusal(write(tmp_path, text))
    assert sentence.startswith("Configuration refused: ")
    assert says in sentence


def test_a_rule_may_only_wait_for_a_title_of_ours(tmp_path: Path) -> None:
    table = f'[[models]]\nname = "m"\ntask = "segment"\nbundle = "b"\nsha256 = "{"0" * 64}"\n'
    rule = "threshold = 0.5\n[models.rule]\ncalled_ae_titles = ["
    own = "[receive]\nfurther_ae_titles = ['TRIAL']\n"
    config = write(tmp_path, own + table + rule + "'TRIAL', 'ONCOPIXEL']")
    assert load_settings(config).models[0].rule.called_ae_titles == ("TRIAL", "ONCOPIXEL")
    says = refusal(write(tmp_path, own + table + rule + "'OTHER']"))
    assert "OTHER, which is not ours; add it to further_ae_titles" in says


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "There is no configuration file" in refusal(tmp_path / "missing.toml")


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    assert "is not valid TOML" in refusal(write(tmp_path, "ae_title = "))


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "oncopixel.toml"
    config.write_bytes('ae_title = "KLINIK_SÜD"'.encode("latin-1"))
    assert "is not valid TOML" in refusal(config)


def test_an_environment_variable_that_cannot_be_read_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONCOPIXEL_PEERS", "[")
    assert "peers" in refusal()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "pacs.example", ""])  # noqa: S104
def test_an_http_server_for_other_machines_needs_tls_or_a_proxy(host: str) -> None:
    assert "trusted_proxies" in refusal(http_host=host, api={"tokens": ["s3cret-token-of-16"]})
    for api in ({"certificate": "a.crt", "key": "a.key"}, {"trusted_proxies": ["10.0.0.1"]}):
        settings = load_settings(http_host=host, api=api)
        assert settings.http_host == host
        assert settings.http_needs_sign_in
    assert load_settings(api={"trusted_proxies": ["127.0.0.1"]}).http_needs_sign_in
    assert not load_settings().http_needs_sign_in


def test_https_needs_certificate_and_key_beside_the_configuration(tmp_path: Path) -> None:
    assert "belong together" in refusal(api={"certificate": "a.crt"})
    config = tmp_path / "oncopixel.toml"
    config.write_text('[api]\ncertificate = "a.crt"\nkey = "a.key"\n')
    assert load_settings(config).api.key == tmp_path / "a.key"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "http://idp.example"}, "https"),
        ({"admins": []}, "nobody could come in"),
        ({"scopes": ["email"]}, "openid"),
    ],
)
def test_a_provider_is_complete(change: dict[str, object], words: str) -> None:
    oidc = {"issuer": "https://idp.example", "client_id": "oncopixel", "admins": ["it"]}
    assert load_settings(api={"oidc": oidc}).api.oidc is not None
    assert words in refusal(api={"oidc": {**oidc, **change}})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_server_for_this_machine_alone_needs_neither(host: str) -> None:
    assert load_settings(dimse_host=host, http_host=host).http_host == host


@pytest.mark.parametrize("token", ["", "guess-me"])
def test_a_token_that_can_be_guessed_is_refused(token: str) -> None:
    assert "api.tokens" in refusal(api={"tokens": [token]})


def test_secrets_do_not_show(tmp_path: Path) -> None:
    settings = load_settings(api={"tokens": ["s3cret-token-of-16"]})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in settings.model_dump_json()


def test_a_refusal_does_not_quote_a_secret() -> None:
    assert "s3cret" not in refusal(api={"tokens": ["s3cret-token-of-16"], "extra": "s3cret"})


def test_the_shipped_models_are_those_that_are_pinned() -> None:
    models = shipped_models()
    assert {model.task for model in models} == set(ModelTask)
    for model in models:
        weights = (model.bundle / "models" / "model.pt").read_bytes()
        assert hashlib.sha256(weights).hexdigest() == model.sha256


def test_shipped_models_run_when_none_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_of_models, "BUNDLES", tmp_path)
    (tmp_path / "models.toml").write_text(MODEL.format(name="shipped", sha256="0" * 64))
    shipped_models.cache_clear()
    try:
        (model,) = Settings().active_models
    finally:
        shipped_models.cache_clear()
    assert (model.name, model.bundle) == ("shipped", tmp_path / "bundles/one")


def test_a_shipped_model_is_listed_by_its_name(tmp_path: Path) -> None:
    classifier, segmenter = shipped_models()
    config = write(
        tmp_path,
        MODEL.format(name="mine", sha256="0" * 64)
        + f'''[[models]]
name = "{classifier.name}"
shipped = true
threshold = 0.4
[models.rule]
modalities = ["MG"]
[[models]]
name = "{segmenter.name}"
shipped = true
shadow = true
''',
    )
    mine, own, beside = load_settings(config).models
    assert mine.name == "mine"
    assert (own.bundle, own.sha256, own.task) == (
        classifier.bundle,
        classifier.sha256,
        classifier.task,
    )
    assert own.threshold == 0.4
    assert own.rule.modalities == ("MG",)
    assert (beside.bundle, beside.threshold) == (segmenter.bundle, segmenter.threshold)
    assert beside.shadow


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"name": "other"},
            "only malignancy-classifier and lesion-segmenter come with the product",
        ),
        ({"name": "lesion-segmenter", "bundle": "here"}, "has its own bundle; leave that out"),
        ({"name": "lesion-segmenter", "sha256": "0" * 64}, "has its own sha256; leave that out"),
        ({"name": "lesion-segmenter", "threshold": 2}, "threshold"),
        ({}, "only malignancy-classifier"),
    ],
)
def test_a_shipped_model_is_refused_in_words(given: dict[str, object], words: str) -> None:
    assert words in refusal(models=[{**given, "shipped": True}])


def test_a_shipped_model_is_no_shadow_of_itself() -> None:
    sentence = refusal(models=[{"name": "lesion-segmenter", "shipped": True, "shadow": True}])
    assert "cannot be its own shadow; list the model that is to run in its place" in sentence


def test_configured_models_replace_the_shipped_ones(tmp_path: Path) -> None:
    config = write(tmp_path, MODEL.format(name="mine", sha256="0" * 64))
    assert [model.name for model in load_settings(config).active_models] == ["mine"]


def test_a_peer_with_a_port_needs_an_address() -> None:
    with pytest.raises(ConfigurationError, match="port needs address"):
        load_settings(peers=[{"ae_title": "ROOM1", "port": 104}])
