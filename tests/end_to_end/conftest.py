"""One real server for the tests that upload to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
import pytest
from server_process import ServerProcess, wait_until

TOKEN = "letmein-by-the-token"  # noqa: S105


@pytest.fixture(scope="module")
def upload_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run a server that wants a token, and would wait ten minutes for further images."""
    server = ServerProcess(
        tmp_path_factory.mktemp("upload"),
        completion="quiet_seconds = 600.0",
        destinations=f'[api]\ntokens = ["{TOKEN}"]',
    )
    try:
        server.start(ready=False)
        wait_until(lambda: is_ready(server), 120, "the server is not ready")
        yield server
    finally:
        server.stop()


def is_ready(server: ServerProcess) -> bool:
    with contextlib.suppress(httpx.TransportError):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.get(f"{server.url}/health/ready", headers=headers).status_code == 200
    return False
