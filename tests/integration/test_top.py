"""``oncopixel top``: live in a real terminal, once anywhere else, from here or from a server."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from api_builders import (
    JOB,
    PACS,
    REFUSED,
    analyse,
    answer,
    make_parts,
    queue,
    receive,
    serving,
    write,
)
from conftest import Store
from rich.console import Console
from server_process import wait_until
from typer.testing import CliRunner

from oncopixel_pacs import cli
from oncopixel_pacs.cli import app
from oncopixel_pacs.cli.top.screen import age, draw, sparkline
from oncopixel_pacs.cli.top.sources import reading
from oncopixel_pacs.domain import DeliveryState
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.ledger import Ledger

TOKEN = "a-token-for-the-test"  # noqa: S105
ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[=>()][A-Z0-9]?)")


def busy(store: Store) -> None:
    """One study analysed and not taken by its PACS, another waiting."""
    receive(store, 4)
    queue(store)
    analyse(store)
    write(store)
    answer(store, DeliveryState.QUEUED, error=REFUSED)
    receive(store, 1, study="2.25.99")
    queue(store, "f" * 24, study="2.25.99")


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    busy(store)
    with serving(make_parts(store, tokens=[TOKEN])) as client:
        yield str(client.base_url)


def drawn(url: str, width: int, height: int | None = None, **options: object) -> list[str]:
    out = io.StringIO()
    with reading(url, TOKEN, None) as read:
        seen = read()
    Console(file=out, width=width).print(draw(seen, width, height, **options))  # type: ignore[arg-type]
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_everything_stands_in_any_width(url: str, width: int) -> None:
    lines = drawn(url, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    for told in ("Received", "2 not finished", "GiB free", "loaded", JOB[:8], "deliver", "queued"):
        assert told in text, told
    (row,) = [line for line in lines if line.startswith("│ pacs ")]
    assert "cstore" in row
    assert "\x1b" not in text


def test_a_low_terminal_counts_what_does_not_fit(url: str) -> None:
    assert any("and 1 more" in line for line in drawn(url, 80, 16))
    assert any("Not of now: away" in line for line in drawn(url, 80, trouble="away"))


def test_scripts_get_it_once_and_as_json(url: str) -> None:
    words = ["top", "--url", url]
    once = CliRunner().invoke(app, [*words, "--once"], env={"ONCOPIXEL_TOKEN": TOKEN})
    assert once.exit_code == 0
    assert "2 not finished" in once.stdout
    told = json.loads(CliRunner().invoke(app, [*words, "--token", TOKEN, "--json"]).stdout)
    assert told["overview"]["waiting"] == 2
    assert [job["id"] for job in told["jobs"]] == [JOB, "f" * 24]
    assert told["destinations"][0]["name"] == "pacs"


def test_a_server_without_its_database_is_quoted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise OutOfResources("The database cannot be read now; check its server.")

    monkeypatch.setattr(Ledger, "jobs", away)
    words = ["top", "--once", "--url", url, "--token", TOKEN]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert str(done.exception).endswith("The database cannot be read now; check its server.")


def test_what_is_here_is_the_same_without_a_server(store: Store, tmp_path: Path) -> None:
    busy(store)
    config = tmp_path / "oncopixel.toml"
    config.write_text(
        f"data_dir = {json.dumps(str(store.files.data_dir))}\n[[destinations]]\n"
        f'name = "pacs"\ntype = "cstore"\nhost = "h"\nport = 104\nae_title = "{PACS.ae_title}"\n',
        encoding="utf-8",
    )
    told = json.loads(CliRunner().invoke(app, ["top", "-c", str(config), "--json"]).stdout)
    assert told["overview"]["waiting"] == 2
    assert [job["id"] for job in told["jobs"]] == [JOB, "f" * 24]
    assert told["destinations"][0]["backlog"]["waiting"] == 2


def test_a_server_that_does_not_let_in_or_answer_is_a_sentence(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (["--url", url], "ONCOPIXEL_TOKEN"),
        (["--url", "http://127.0.0.1:9"], "does not answer"),
        (["--url", f"{url}/static"], "check --url"),
    ):
        monkeypatch.setattr("sys.argv", ["oncopixel", "top", *words, "--once"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        assert ended.value.code == 1
        assert said in output.err
        assert len(output.err.splitlines()) == 1


def test_figures_are_short() -> None:
    assert [age(s) for s in (-1, 7, 119, 121, 7300, 200_000)] == [
        *("0 s", "7 s", "119 s", "2 min", "2 h", "2 d"),
    ]
    assert sparkline([0, 1, 100, 50]) == "▁▂█▅"
    assert sparkline([0, 0]) == "▁▁"


# --- in a terminal ------------------------------------------------------------------------------


@dataclass
class Terminal:
    """A program in a terminal of 80 by 24, and all that it wrote there."""

    process: subprocess.Popen[bytes]
    screen: int
    written: bytearray

    def shows(self, text: str) -> bool:
        while True:
            try:
                self.written += os.read(self.screen, 65536)
            except BlockingIOError:
                break
            except OSError:  # the program closed it
                break
        return text.encode() in ESCAPES.sub(b"", self.written)


@contextmanager
def terminal(*words: str, **environment: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.set_blocking(ours, False)
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, "-m", "oncopixel_pacs", "top", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", **environment},
        start_new_session=True,
    )
    shown = Terminal(process, ours, bytearray())
    try:
        yield shown
        wait_until(lambda: (shown.shows(""), process.poll())[1] is not None, 30, "it does not end")
        # The terminal is as it was: lines, echo, cursor, and what stood on it.
        assert termios.tcgetattr(theirs) == before
        assert shown.written.rstrip().endswith(b"\x1b[?25h") or b"\x1b[?1049l" in shown.written
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_it_lives_in_a_terminal_until_q_is_struck(store: Store) -> None:
    busy(store)
    with (
        serving(make_parts(store, tokens=[TOKEN])) as client,
        terminal(
            *("--url", str(client.base_url), "--interval", "0.2"), ONCOPIXEL_TOKEN=TOKEN
        ) as shown,
    ):
        wait_until(lambda: shown.shows("2 not finished"), 60, "nothing is shown")
        assert shown.shows("q quits")
        assert b"\x1b[?1049h" in shown.written
        receive(store, 1, study="2.25.98")
        queue(store, "e" * 24, study="2.25.98")
        wait_until(lambda: shown.shows("3 not finished"), 60, "it does not follow")
        os.write(shown.screen, b"q")
    assert shown.process.returncode == 0


def test_ctrl_c_ends_it_and_no_color_is_obeyed(url: str) -> None:
    with terminal("--url", url, "--token", TOKEN, NO_COLOR="1") as shown:
        wait_until(lambda: shown.shows("2 not finished"), 60, "nothing is shown")
        colours = re.findall(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|9[0-7]|38;[0-9;]+)m", shown.written)
        assert colours == []
        shown.process.send_signal(signal.SIGINT)
    assert shown.process.returncode == 0
    assert b"Traceback" not in shown.written
