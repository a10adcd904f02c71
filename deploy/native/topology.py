"""Starts what ``compose.yaml`` describes on this machine, without containers, and keeps it running.

PostgreSQL, Orthanc, OncoPixel in its three roles, and nginx with OHIF run as plain processes on
loopback, from the same files: roles and environment from ``compose.yaml``, settings from
``compose/oncopixel.toml``, Orthanc's from ``orthanc/``, nginx's from ``nginx/``, passwords and
certificate as ``compose/prepare`` makes them. Only addresses and ports differ.

    python deploy/native/topology.py --folder trial --ohif OHIF

``OHIF`` is the published build, unpacked (``package/dist`` of @ohif/app). When everything answers,
``trial/topology.json`` says where; Ctrl-C or SIGTERM ends it all. Settings in the environment
(``ONCOPIXEL_…``) win, as always. Needs the packages orthanc, orthanc-dicomweb, orthanc-python,
postgresql, nginx-light, gettext-base and openssl.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parents[1]
LOOPBACK = "127.0.0.1"
START_SECONDS = 180.0
PLUGINS = "/usr/share/orthanc/plugins"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")

Environment = dict[str, str]


def free_port() -> int:
    """Find a port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Fill in ``${NAME}``, ``${NAME:-value}`` and ``${NAME:?reason}`` as compose does."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if found := variables.get(name):
            return found
        if kind == "-":
            return str(rest)
        raise SystemExit(f"topology: {name} is not set: {rest or 'it has no default'}")

    return _VARIABLE.sub(value, text)


@dataclass
class Topology:
    """The running processes, in the order in which they were started."""

    folder: Path
    ohif: Path
    ports: dict[str, int] = field(default_factory=dict)
    running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = ("database", "orthanc", "orthanc_dicom", "dicom", "api", "front", "viewer")
        self.ports = {name: free_port() for name in names}
        subprocess.run([DEPLOY / "compose" / "prepare", self.folder], check=True)  # noqa: S603
        lines = (self.folder / ".env").read_text(encoding="utf-8").splitlines()
        self.secrets = dict(line.split("=", 1) for line in lines if line)
        compose = (DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8")
        self.services = yaml.safe_load(compose)["services"]

    def environment_of(self, service: str) -> Environment:
        """Environment of a service as compose would give it."""
        stated = self.services[service].get("environment", {})
        return {name: interpolated(str(value), self.secrets) for name, value in stated.items()}

    def run(self, name: str, command: list[str], environment: Environment) -> None:
        """Start a process, its log beside it."""
        with (self.folder / f"{name}.log").open("ab") as stream:
            process = subprocess.Popen(  # noqa: S603
                command, env={**os.environ, **environment}, stdout=stream, stderr=stream
            )
        self.running.append((name, process))

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until a process is ready."""
        process = dict(self.running)[name]
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
                raise SystemExit(f"topology: {name} did not start:\n{log[-2000:]}")
            time.sleep(0.1)

    def start(self) -> None:
        """Start everything that compose would, and wait until it answers."""
        self._start_database()
        self._start_orthanc()
        services = [name for name in self.services if name.startswith("oncopixel-")]
        for service in services:
            self._start_oncopixel(service)
        for service in services:
            self.wait(service, (self.folder / f"{service}.ports").exists)
        self._start_front()

    def stop(self) -> None:
        """End everything, last first."""
        for name, process in reversed(self.running):
            # Smart shutdown of PostgreSQL would wait for clients.
            process.send_signal(signal.SIGINT if name == "database" else signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start_database(self) -> None:
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        data, stated = self.folder / "database", self.environment_of("database")
        data.mkdir()
        as_postgres: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(data, "postgres")
            as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        password = stated["POSTGRES_PASSWORD"]
        password_file = self.folder / "database.password"
        password_file.touch(0o600)
        password_file.write_text(password, encoding="utf-8")
        if as_postgres:
            shutil.chown(password_file, "postgres")
        initdb = [
            *as_postgres,
            *(str(binaries / "initdb"), "-D", str(data), "-U", stated["POSTGRES_USER"]),
            *("--auth=scram-sha-256", f"--pwfile={password_file}"),
            *("--encoding=UTF8", "--data-checksums", "--no-sync"),
        ]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        password_file.unlink()
        port = str(self.ports["database"])
        options = [f"--listen_addresses={LOOPBACK}", "--unix_socket_directories="]
        server = [str(binaries / "postgres"), "-D", str(data), "-p", port, *options]
        login = {"PGPASSWORD": password, "PGHOST": LOOPBACK, "PGPORT": port}
        client = {**os.environ, **login, "PGUSER": stated["POSTGRES_USER"]}

        def ready() -> bool:
            made = subprocess.run(  # noqa: S603
                [str(binaries / "createdb"), stated["POSTGRES_DB"]],
                env=client,
                capture_output=True,
                text=True,
                check=False,
            )
            return made.returncode == 0 or "already exists" in made.stderr

        self.run("database", as_postgres + server, {})
        self.wait("database", ready)

    def _start_orthanc(self) -> None:
        storage = self.folder / "archive"
        storage.mkdir()
        environment = self.environment_of("orthanc") | {
            "ORTHANC_STORAGE": str(storage),
            "ORTHANC_HTTP_PORT": str(self.ports["orthanc"]),
            "ORTHANC_DICOM_PORT": str(self.ports["orthanc_dicom"]),
            "ORTHANC_REMOTE": "false",
            "ORTHANC_PLUGINS": PLUGINS,
            "ORTHANC_SCRIPT": str(DEPLOY / "orthanc" / "oncopixel_forward.py"),
            "ONCOPIXEL_HOST": LOOPBACK,
            "ONCOPIXEL_DICOM_PORT": str(self.ports["dicom"]),
            "ONCOPIXEL_RETRY_SECONDS": "1",
            "ONCOPIXEL_URL": f"https://localhost:{self.ports['front']}",
            "VIEWER_URL": f"https://localhost:{self.ports['viewer']}",
        }
        program = shutil.which("Orthanc", path=f"/usr/sbin{os.pathsep}{os.environ['PATH']}")
        command = [program or "Orthanc", str(DEPLOY / "orthanc" / "orthanc.json")]
        login = ("oncopixel", self.secrets["ORTHANC_PASSWORD"])
        self.run("orthanc", command, environment)
        state = "/oncopixel/state"
        self.wait("orthanc", lambda: self._answers("orthanc", state, login, tls=False))

    def _start_oncopixel(self, service: str) -> None:
        config = DEPLOY / "compose" / "oncopixel.toml"
        stated = tomllib.loads(config.read_text(encoding="utf-8"))
        place = {"host": LOOPBACK, "port": self.ports["orthanc_dicom"]}
        destinations = [{**item, **place} for item in stated["destinations"]]
        environment = self.environment_of(service)
        url = environment["ONCOPIXEL_DATABASE_URL"]
        environment |= {
            "ONCOPIXEL_DATABASE_URL": url.replace(
                "@database/", f"@{LOOPBACK}:{self.ports['database']}/"
            ),
            "ONCOPIXEL_DATA_DIR": str(self.folder / "images"),
            "ONCOPIXEL_DIMSE_HOST": LOOPBACK,
            "ONCOPIXEL_DIMSE_PORT": str(self.ports["dicom"]),
            "ONCOPIXEL_HTTP_HOST": LOOPBACK,
            "ONCOPIXEL_HTTP_PORT": str(self.ports["api"]),
            "ONCOPIXEL_METRICS__HOST": LOOPBACK,
            "ONCOPIXEL_METRICS__PORT": "0",
            "ONCOPIXEL_DESTINATIONS": json.dumps(destinations),
        }
        if "ONCOPIXEL_API__CERTIFICATE" in environment:
            environment |= {
                "ONCOPIXEL_API__CERTIFICATE": str(self.folder / "secrets" / "certificate.pem"),
                "ONCOPIXEL_API__KEY": str(self.folder / "secrets" / "key.pem"),
                "ONCOPIXEL_API__TRUSTED_PROXIES": f'["{LOOPBACK}"]',
            }
        ports = ["--ports-file", str(self.folder / f"{service}.ports")]
        arguments = [*self.services[service]["command"], "--config", str(config), *ports]
        self.run(service, [sys.executable, "-m", "oncopixel_pacs", *arguments], environment)

    def _start_front(self) -> None:
        secrets = self.folder / "secrets"
        temporary = self.folder / "front"
        temporary.mkdir()
        # What the image does: the published build with our configuration in it.
        viewer = self.folder / "ohif"
        shutil.copytree(self.ohif, viewer, copy_function=_linked)
        (viewer / "app-config.js").unlink(missing_ok=True)
        shutil.copy(DEPLOY.parent / "oncopixel_pacs" / "viewer" / "app-config.js", viewer)
        environment = {
            "FRONT_HOST": LOOPBACK,
            "FRONT_PORT": str(self.ports["front"]),
            "VIEWER_PORT": str(self.ports["viewer"]),
            "FRONT_API": f"https://{LOOPBACK}:{self.ports['api']}",
            "FRONT_ORTHANC": f"{LOOPBACK}:{self.ports['orthanc']}",
            "FRONT_OHIF": str(viewer),
            "FRONT_TMP": str(temporary),
            "FRONT_CERTIFICATE": str(secrets / "certificate.pem"),
            "FRONT_KEY": str(secrets / "key.pem"),
            "PATH": f"{os.environ['PATH']}{os.pathsep}/usr/sbin",
        }
        token = ("any", self.secrets["ONCOPIXEL_TOKEN"])
        self.run("front", [str(DEPLOY / "nginx" / "start")], environment)
        self.wait("front", lambda: self._answers("front", "/health/ready", token, tls=True))

    def _answers(self, port: str, path: str, login: tuple[str, str], *, tls: bool) -> bool:
        place = (LOOPBACK, self.ports[port])
        if tls:
            trusted = ssl.create_default_context(
                cafile=str(self.folder / "secrets" / "certificate.pem")
            )
            client: http.client.HTTPConnection = http.client.HTTPSConnection(
                *place, timeout=10, context=trusted
            )
        else:
            client = http.client.HTTPConnection(*place, timeout=10)
        credentials = base64.b64encode(":".join(login).encode()).decode()
        with contextlib.closing(client), contextlib.suppress(OSError):
            client.request("GET", path, headers={"Authorization": f"Basic {credentials}"})
            return client.getresponse().status == 200
        return False


def _linked(source: str, target: str) -> str:
    """Link instead of copying; a symbolic link would lead where nginx may not go."""
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target


@contextlib.contextmanager
def running(folder: Path, ohif: Path) -> Iterator[Topology]:
    """Run it all; ends what was started, also when something did not start."""
    topology = Topology(folder, ohif)
    try:
        topology.start()
        yield topology
    finally:
        topology.stop()


def main() -> None:
    """Start, say where, and wait for the end."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="new folder for everything")
    parser.add_argument("--ohif", type=Path, required=True, help="published build of OHIF")
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True)
    # PostgreSQL runs as another user below it.
    folder.chmod(0o755)
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    with running(folder, options.ohif.absolute()) as topology:
        told = {"ports": topology.ports, "secrets": topology.secrets}
        told["processes"] = {name: process.pid for name, process in topology.running}
        (folder / "topology.new").write_text(json.dumps(told), encoding="utf-8")
        (folder / "topology.new").rename(folder / "topology.json")
        print(f"Pages   https://localhost:{topology.ports['front']}")
        print(f"Viewer  https://localhost:{topology.ports['viewer']}")
        print(f"DICOM   ORTHANC@localhost:{topology.ports['orthanc_dicom']}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
