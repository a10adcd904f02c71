"""The files in ``deploy/``: each is checked by the tool of those who will read it."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from answering_server import http_server
from certificates import Authority, Identity
from pydantic import SecretStr
from server_process import free_port, wait_until

from oncopixel_pacs.settings import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
DOCKERFILES = sorted((DEPLOY / "images").glob("*Dockerfile"))
SCRIPTS = [DEPLOY / "nginx" / "start", DEPLOY / "compose" / "prepare"]
TOKEN = "t" * 48
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
SEARCHED = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"


def output(*command: str | Path, **environment: str) -> str:
    """Run a tool, which must be content; returns what it says."""
    answer = subprocess.run(
        [str(part) for part in command],
        env=os.environ | {"PATH": SEARCHED} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout
    return answer.stdout


def need(program: str) -> None:
    if shutil.which(program, path=SEARCHED) is None:
        pytest.skip(f"{program} is not installed")


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return found


# --- images -------------------------------------------------------------------------------------


def test_the_dockerfiles_please_hadolint() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    output(linter, "--config", ROOT / ".hadolint.yaml", *DOCKERFILES)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_pinned_and_runs_as_nobody_special(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    bases = re.findall(r"^ARG BASE=(\S+)", text, re.MULTILINE)
    assert len(bases) == 1
    assert DIGEST.search(bases[0])
    stages = set(re.findall(r"^FROM \S+ AS (\w+)", text, re.MULTILINE))
    for source in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert source == "${BASE}" or source in stages
    last = text.rpartition("\nFROM ")[2]
    user = re.findall(r"^USER (\d+):(\d+)$", last, re.MULTILINE)[-1]
    assert "0" not in user
    assert "HEALTHCHECK" in last


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_copies_is_there_and_in_the_context(path: Path) -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line[1:] for line in allowed if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(encoding="utf-8"), re.M):
        for source in filter(lambda one: one != ".", line.split()[:-1]):
            names = [source.replace("${TORCH}", torch) for torch in ("cpu", "cuda")]
            for name in names:
                found = list(ROOT.glob(name)) or [ROOT / name]
                assert all(item.exists() for item in found), name
                assert any(name.startswith(one.rstrip("*")) for one in let_in), name


def pins(name: str) -> dict[str, str]:
    text = (DEPLOY / "images" / f"{name}.lock").read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", text, re.M)
    assert len(found) == text.count("=="), f"{name}.lock has a line without a digest"
    return {package: version for package, version, _ in found}


def locked() -> dict[str, str]:
    text = "".join(
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("requirements.lock", "requirements-build.lock")
    )
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text.lower(), re.MULTILINE))


def test_images_install_what_is_locked_by_digest() -> None:
    serving, training = pins("serving"), pins("training")
    assert serving.items() <= locked().items(), "run `make image-locks`"
    assert training.items() <= locked().items(), "run `make image-locks`"
    assert not serving.keys() & training.keys()
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").lower()
    run_time = set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE))
    assert run_time <= serving.keys() | training.keys(), "run `make image-locks`"
    cpu, cuda = pins("torch-cpu"), pins("torch-cuda")
    assert cpu["torch"] == cuda["torch"] + "+cpu"
    assert any(name.startswith("nvidia-") for name in cuda)
    assert not any(name.startswith("nvidia-") for name in [*serving, *training])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_may_be_run(script: Path) -> None:
    output("sh", "-n", script)
    assert os.access(script, os.X_OK)


# --- compose ------------------------------------------------------------------------------------


def test_compose_is_valid_by_its_own_schema() -> None:
    output(
        *(sys.executable, "-m", "check_jsonschema", "--builtin-schema"),
        *("vendor.compose-spec", COMPOSE),
    )


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_is_pinned_and_can_do_little(name: str) -> None:
    service = services()[name]
    assert "build" in service or DIGEST.search(service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        assert not source.startswith(".") or name == "backup" or (COMPOSE.parent / source).exists()


def test_every_password_of_compose_is_prepared_and_none_is_shipped(tmp_path: Path) -> None:
    need("openssl")
    output(SCRIPTS[1], tmp_path)
    lines = (tmp_path / ".env").read_text(encoding="utf-8").splitlines()
    made = dict(line.split("=", 1) for line in lines)
    wanted = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text(encoding="utf-8")))
    assert wanted == made.keys()
    assert all(len(value) == 48 for value in made.values())
    output(SCRIPTS[1], tmp_path)
    assert (tmp_path / ".env").read_text(encoding="utf-8").splitlines() == lines
    stated = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["secrets"]
    files = {Path(secret["file"]).name for secret in stated.values()}
    assert files == {path.name for path in (tmp_path / "secrets").iterdir()}


@pytest.mark.parametrize(
    "path",
    [DEPLOY / "compose" / "oncopixel.toml", KUBERNETES / "base" / "oncopixel.toml"],
    ids=["compose", "kubernetes"],
)
def test_the_shipped_settings_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONCOPIXEL_API__TOKENS", f'["{TOKEN}"]')
    settings = load_settings(path)
    assert settings.api.tokens == (SecretStr(TOKEN),)
    assert settings.peers
    assert settings.destinations


# --- nginx --------------------------------------------------------------------------------------


def test_the_front_pleases_nginx(tmp_path: Path) -> None:
    for program in ("nginx", "envsubst", "openssl"):
        need(program)
    output(SCRIPTS[1], tmp_path)
    said = output(
        SCRIPTS[0],
        "-t",
        FRONT_TMP=str(tmp_path),
        FRONT_API="https://127.0.0.1:1",
        FRONT_ORTHANC="127.0.0.1:2",
        FRONT_CERTIFICATE=str(tmp_path / "secrets" / "certificate.pem"),
        FRONT_KEY=str(tmp_path / "secrets" / "key.pem"),
    )
    assert "test is successful" in said
    assert "warn" not in said


def test_the_front_shows_a_renewed_certificate_without_a_restart(tmp_path: Path) -> None:
    """Server and front share the files: the server's alarm ends when they are renewed."""
    for program in ("nginx", "envsubst"):
        need(program)
    authority, port = Authority(tmp_path, "ca"), free_port()
    shown, renewed = authority.issue("shown"), authority.issue("renewed")
    environment = behind_the_front(tmp_path, port, shown, "https://127.0.0.1:1")
    with subprocess.Popen([SCRIPTS[0]], env=environment) as front:
        try:
            wait_until(lambda: shows(port, shown.certificate), 20, "the front answers")
            shutil.copy(renewed.certificate, shown.certificate)
            shutil.copy(renewed.key, shown.key)
            wait_until(lambda: shows(port, renewed.certificate), 20, "the renewed one is shown")
        finally:
            front.terminate()


def test_the_front_finds_a_server_that_was_made_anew_under_another_address(tmp_path: Path) -> None:
    """As after ``docker compose up -d`` with a new image: nginx asked the address of before."""
    for program in ("nginx", "envsubst", "unshare"):
        need(program)
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("a hosts file of its own takes the rights of root")
    port, server_port = free_port(), free_port()
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 oncopixel-api\n", encoding="ascii")
    authority = Authority(tmp_path, "ca")
    certificate, trusted = authority.issue("front"), ssl.create_default_context()
    trusted.load_verify_locations(authority.ca_file)
    environment = behind_the_front(
        tmp_path, port, certificate, f"http://oncopixel-api:{server_port}"
    )
    with_names = f"mount --bind {hosts} /etc/hosts && exec {SCRIPTS[0]}"

    def answered_by(server: str) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"https://127.0.0.1:{port}/", verify=trusted).text == server
        return False

    with (
        http_server({"/": (200, b"before")}, ("127.0.0.1", server_port)),
        http_server({"/": (200, b"after")}, ("127.0.0.2", server_port)),
        subprocess.Popen(["unshare", "--mount", "sh", "-c", with_names], env=environment) as front,
    ):
        try:
            wait_until(lambda: answered_by("before"), 20, "the front answers")
            hosts.write_text("127.0.0.2 oncopixel-api\n", encoding="ascii")
            wait_until(lambda: answered_by("after"), 20, "the front asks the new address")
        finally:
            front.terminate()


def behind_the_front(folder: Path, port: int, certificate: Identity, api: str) -> dict[str, str]:
    """Tell `deploy/nginx/start` so much of its surroundings."""
    return {
        **os.environ,
        "PATH": SEARCHED,
        "FRONT_TMP": str(folder),
        "FRONT_HOST": "127.0.0.1",
        "FRONT_PORT": str(port),
        "VIEWER_PORT": str(free_port()),
        "FRONT_API": api,
        "FRONT_ORTHANC": "127.0.0.1:2",
        "FRONT_CERTIFICATE": str(certificate.certificate),
        "FRONT_KEY": str(certificate.key),
        "FRONT_RENEWAL_SECONDS": "0.1",
    }


def shows(port: int, certificate: Path) -> bool:
    with suppress(OSError):
        found = ssl.get_server_certificate(("127.0.0.1", port))
        return found.strip() == certificate.read_text("ascii").strip()
    return False


# --- systemd ------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """Copy the units, with a program that exists."""
    need("systemd-analyze")
    made = []
    for path in (DEPLOY / "systemd").glob("oncopixel*.*"):
        text = path.read_text(encoding="utf-8")
        assert path.suffix == ".timer" or "/opt/oncopixel/bin/oncopixel " in text
        made.append(tmp_path / path.name)
        made[-1].write_text(text.replace("/opt/oncopixel/bin/oncopixel ", "/bin/true "))
    return sorted(made)


def test_the_units_please_systemd(units: list[Path]) -> None:
    assert [unit.name for unit in units] == [
        "oncopixel-backup.service",
        "oncopixel-backup.timer",
        "oncopixel.service",
    ]
    assert output("systemd-analyze", "verify", "--man=no", *units).strip() == ""


def test_commands_run_by_the_script_see_what_the_service_sees(tmp_path: Path) -> None:
    asked = tmp_path / "systemd-run"
    asked.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    asked.chmod(0o755)
    told = subprocess.run(
        [DEPLOY / "systemd" / "oncopixel", "jobs", "list"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    unit = (DEPLOY / "systemd" / "oncopixel.service").read_text(encoding="utf-8")
    (file,) = re.findall(r"^EnvironmentFile=(.*)$", unit, re.MULTILINE)
    # What the configuration says of data_dir holds: the environment would win over it.
    assert not re.findall(r"ONCOPIXEL_(?!CONFIG|DATABASE_URL|API)", unit + " ".join(told))
    (program, config) = re.findall(r"^ExecStart=(\S+) serve --config (\S+)$", unit, re.MULTILINE)[0]
    assert {
        f"--property=EnvironmentFile={file}",
        f"--setenv=ONCOPIXEL_CONFIG={config}",
        "--uid=oncopixel",
        "--pipe",
    } <= set(told)
    assert told[-3:] == [program, "jobs", "list"]


def test_a_misspelt_unit_does_not_please_systemd(units: list[Path]) -> None:
    unit = units[-1]
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystem=srtict"))
    assert "Failed to parse protect system value" in output(
        "systemd-analyze", "verify", "--man=no", unit
    )


def test_the_services_are_hardened(units: list[Path]) -> None:
    for unit in units:
        if unit.suffix == ".service":
            # 0 is best, 10 is worst; a service without any protection has 9.6.
            output("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)


# --- Kubernetes ---------------------------------------------------------------------------------


def validated(*paths: Path) -> str:
    return output(sys.executable, "-m", "kubernetes_validate", "--strict", *paths)


def test_the_manifests_are_valid() -> None:
    found = sorted(KUBERNETES.rglob("*.yaml"))
    manifests = [path for path in found if path.name != "kustomization.yaml"]
    said = validated(*manifests)
    assert all(f"{path} passed" in said for path in manifests)


@pytest.mark.parametrize("variant", ["base", "gpu"])
def test_what_kustomize_makes_is_valid_and_restricted(variant: str, tmp_path: Path) -> None:
    need("kubectl")
    built = tmp_path / "built.yaml"
    built.write_text(output("kubectl", "kustomize", KUBERNETES / variant), encoding="utf-8")
    validated(built)
    made = list(yaml.safe_load_all(built.read_text(encoding="utf-8")))
    pods = {}
    for item in made:
        spec = item.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if item["kind"] in ("Deployment", "StatefulSet", "CronJob"):
            pods[item["metadata"]["name"]] = spec["template"]["spec"]
    assert pods.keys() == {"receive", "work", "api", "backup"}
    for pod in pods.values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    on_gpu = "nvidia.com/gpu" in pods["work"]["containers"][0]["resources"]["limits"]
    assert on_gpu == (variant == "gpu")
