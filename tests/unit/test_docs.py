"""The documents say what the code does: settings, commands, routes, states, tables, examples."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from unittest.mock import MagicMock

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from oncopixel_pacs.deliver.dimse_status import MEANINGS
from oncopixel_pacs.domain import DeliveryState, JobState, Reason, StepName, StepState, StudyState
from oncopixel_pacs.imaging.codecs import SUPPORTED_TRANSFER_SYNTAXES
from oncopixel_pacs.receive.contexts import STORAGE_SOP_CLASSES, VERIFICATION
from oncopixel_pacs.receive.limits import DEFAULT_LIMITS
from oncopixel_pacs.receive.status import STATUS_OF, SUCCESS, UNEXPECTED
from oncopixel_pacs.receive.stow import STOW_PROBLEMS
from oncopixel_pacs.receive.stow_parts import (
    CLASS_NOT_SUPPORTED,
    PROCESSING_FAILURE,
    SYNTAX_NOT_SUPPORTED,
    StowLimits,
)
from oncopixel_pacs.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "deploy" / "oncopixel.toml"
#: Pages outside the site; mkdocs checks the links of those inside.
LOOSE_PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "deploy").glob("*.md")])
PAGES = [*LOOSE_PAGES, *sorted(DOCS.rglob("*.md"))]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def table_rows(text: str) -> list[list[str]]:
    rows = [line.strip() for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


# --- settings ---------------------------------------------------------------------------------


def sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models inside an annotation, however deep: ``tuple[A | B, ...]`` gives A and B."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated, tuple):
        for part in get_args(annotation):
            yield from sections_in(part)


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting by its path in the file, such as ``completion.quiet_seconds``."""
    for name, field in model.model_fields.items():
        inner = list(sections_in(field.annotation))
        for section in inner:
            yield from settings_of(section, f"{prefix}{name}.")
        if not inner:
            yield prefix + name, field


def as_documented(field: FieldInfo) -> str:
    """Default of a setting as the page writes it."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "none"
    if isinstance(default, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in default) + "]`"
    return f'`"{default}"`' if isinstance(default, str | Path) else f"`{default}`"


def documented_defaults() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for cells in table_rows(page("configuration.md")):
        if len(cells) == 4 and cells[0].startswith("`"):
            found.setdefault(cells[0].strip("`"), set()).add(cells[2])
    return found


def test_every_setting_is_documented_with_its_default_and_nothing_else_is() -> None:
    real: dict[str, set[str]] = {}
    for path, field in settings_of(Settings):
        real.setdefault(path, set()).add(as_documented(field))
    assert {"data_dir", "peers.ae_title", "destinations.url"} <= real.keys()
    assert documented_defaults() == real


def test_the_example_configuration_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLE.parent)
    settings = load_settings(EXAMPLE)
    assert settings.peers
    assert settings.destinations


def test_the_example_configuration_shows_every_setting() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    shown = set(re.findall(r"^(?:# )?(\w+) = ", text, flags=re.MULTILINE))
    names = {path.rpartition(".")[2] for path, _ in settings_of(Settings)}
    assert shown == names


def test_the_example_configuration_names_the_true_defaults(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    tables = {"receive", "upload", "completion", "inference", "delivery", "pull"}
    lines, inside = [], False
    for line in text.splitlines():
        if head := re.match(r"\[(\w+)\]", line):
            inside = head[1] in tables
        elif line.startswith("["):
            inside = False
        if inside:
            lines.append(re.sub(r"^# (?=\w+ = )", "", line))
    config = tmp_path / "oncopixel.toml"
    config.write_text("\n".join(lines), encoding="utf-8")
    shown, defaults = load_settings(config), Settings()
    for table in tables:
        assert getattr(shown, table) == getattr(defaults, table)
        assert getattr(shown, table).model_fields_set == set(
            type(getattr(shown, table)).model_fields
        )


# --- commands ---------------------------------------------------------------------------------


def command_trees() -> dict[str, Any]:
    import typer.main

    from oncopixel_pacs.cli import app
    from training.cli import app as training

    return {
        "oncopixel": typer.main.get_command(app),
        "oncopixel-train": typer.main.get_command(training),
    }


def commands_of(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, below in inner.items():
        yield from commands_of(f"{name} {word}", below)


def options_of(command: Any) -> set[str]:
    named = (item for item in command.params if item.param_type_name == "option")
    return {text for item in named for text in (*item.opts, *item.secondary_opts)} - {"--help"}


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    return {
        name: command
        for program, tree in command_trees().items()
        for name, command in commands_of(program, tree)
    }


def test_every_command_is_documented_with_its_options_and_nothing_else_is(
    commands: dict[str, Any],
) -> None:
    parts = re.split(r"^## `(.+)`$", page("command-line.md"), flags=re.MULTILINE)
    documented = {
        name: {
            option
            for cells in table_rows(text)
            for option in re.findall(r"`(--?[a-z][a-z-]*)`", cells[0])
        }
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    assert documented == {name: options_of(command) for name, command in commands.items()}


def shell_lines() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"(\S*/)?oncopixel(-train)? ", line):
                    yield path.name, line


@pytest.mark.parametrize(("name", "line"), list(shell_lines()))
def test_every_command_in_an_example_exists(name: str, line: str, commands: dict[str, Any]) -> None:
    program, *words = shlex.split(line, comments=True)
    words.insert(0, Path(program).name)
    known = [
        " ".join(words[:length])
        for length in range(len(words), 0, -1)
        if " ".join(words[:length]) in commands
    ]
    assert known, f"{name}: no such command: {line}"
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= options_of(commands[known[0]]), f"{name}: {line}"


# --- the HTTP API -----------------------------------------------------------------------------


def test_every_route_is_documented() -> None:
    text = page("api.md") + page("dicomweb.md")
    paths = routes()
    assert {"/", "/api/v1/studies", "/health/live"} <= paths
    paths = {path.replace(":path}", "}") for path in paths}
    missing = [
        path for path in paths if not re.search(rf"(?<![\w/}}]){re.escape(path)}(?![\w/{{])", text)
    ]
    assert missing == []


def routes() -> set[str]:
    """Paths of every route of the application, hidden ones too."""
    return {path for _, path in routes_with_methods()} | {"/static"}


def routes_with_methods() -> set[tuple[str, str]]:
    """List method and path of every route of the application but files."""
    from oncopixel_pacs.api.application import create_app

    parts = MagicMock()
    parts.settings = Settings()
    found: set[tuple[str, str]] = set()
    for route in create_app(parts).routes:
        # FastAPI keeps routers whole and resolves them when a request comes.
        resolved = getattr(route, "effective_route_contexts", None)
        for item in resolved() if resolved else [route]:
            methods = getattr(item, "methods", None) or ()
            found |= {(method, item.path) for method in methods if method != "HEAD"}
    return {item for item in found if item[1] not in {"/docs/oauth2-redirect", "/redoc"}}


# --- DICOM ------------------------------------------------------------------------------------


def section(text: str, heading: str) -> str:
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[heading]


def first_cells(text: str) -> set[str]:
    return {code for cells in table_rows(text) for code in re.findall(r"`([^`]+)`", cells[0])}


def test_what_we_accept_is_what_the_acceptor_negotiates() -> None:
    text = section(page("dicom.md"), "What we accept")
    listed = [cells[1].strip("`") for cells in table_rows(text) if cells[1].startswith("`")]
    assert listed == [*STORAGE_SOP_CLASSES, *SUPPORTED_TRANSFER_SYNTAXES]
    assert VERIFICATION in text


def test_every_status_that_we_answer_is_documented() -> None:
    codes = {SUCCESS, UNEXPECTED, *(code for _, code in STATUS_OF)}
    text = section(page("dicom.md"), "What we answer")
    assert first_cells(text) == {f"0x{code:04X}" for code in codes}


def test_every_status_that_we_understand_is_documented_under_its_judgement() -> None:
    rows = table_rows(section(page("dicom.md"), "What we send"))
    for meaning in MEANINGS:
        span = f"`0x{meaning.first:04X}`"
        if meaning.last != meaning.first:
            span += f" to `0x{meaning.last:04X}`"
        judgement = next(cells[1] for cells in rows if span in cells[0])
        if meaning.accepted:
            assert judgement.startswith("accepted")
        else:
            assert judgement.startswith("refused for good" if meaning.permanent else "passing")


def test_the_limits_of_a_sender_are_documented() -> None:
    text = " ".join(section(page("dicom.md"), "What we answer").split())
    limits = DEFAULT_LIMITS
    for said in (
        f"at most {limits.pdu_bytes >> 10} KiB ({limits.request_pdu_bytes >> 10} KiB before",
        f"within {limits.pdu_seconds:.0f} seconds; an association request",
        f"within {limits.request_seconds:.0f} seconds of connecting",
        f"{limits.idle_seconds:.0f} seconds of silence",
        f"a data set of at most {limits.dataset_bytes >> 30} GiB",
        f"{limits.associations} associations are open",
    ):
        assert said in text


def test_what_storing_takes_and_answers_is_documented() -> None:
    text = section(page("dicomweb.md"), "Store")
    limits = StowLimits()
    for said in (
        f"for {limits.idle_seconds:.0f} seconds",
        f"More than {limits.parts} objects or {limits.total_bytes >> 30} GiB",
        f"larger than {limits.part_bytes >> 30} GiB",
        f"or {limits.requests} requests",
    ):
        assert said in text
    reasons = {PROCESSING_FAILURE, CLASS_NOT_SUPPORTED, SYNTAX_NOT_SUPPORTED}
    reasons |= {code for _, code in STATUS_OF}
    told = {code for code in first_cells(text) if code.startswith("0x")}
    assert told == {f"0x{code:04X}" for code in reasons}
    statuses = {int(cells[0]) for cells in table_rows(text) if cells[0].isdigit()}
    assert statuses == {200, 202, 409, *STOW_PROBLEMS}


# --- states and reasons -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "states"),
    [("Studies", StudyState), ("Jobs", JobState), ("Deliveries", DeliveryState)],
)
def test_every_state_is_documented(heading: str, states: type[StrEnum]) -> None:
    assert first_cells(section(page("operations.md"), heading)) == set(states)


def test_every_step_is_documented() -> None:
    text = section(page("operations.md"), "Steps")
    assert set(re.findall(r"`([a-z]+)`", text)) >= {*StepName, *StepState}


def test_every_event_that_is_documented_is_logged() -> None:
    names = first_cells(section(page("operations.md"), "Logs"))
    assert "job.failed" in names
    code = "".join(path.read_text("utf-8") for path in (ROOT / "oncopixel_pacs").rglob("*.py"))
    assert [name for name in names if f'"{name}"' not in code] == []


def test_every_reason_is_documented_in_its_own_words() -> None:
    rows = table_rows(section(page("results.md"), "Why an image was not analysed"))
    reasons = [cells for cells in rows if cells[0].startswith("`")]
    assert all(advice for *_, advice in reasons)
    documented = {cells[0].strip("`"): cells[1] for cells in reasons}
    assert documented == {reason.value: reason.sentence for reason in Reason}


# --- the pages themselves ---------------------------------------------------------------------


@pytest.mark.parametrize("path", LOOSE_PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    local = [target for target in targets if "://" not in target and target[:7] != "mailto:"]
    assert [target for target in local if not (path.parent / target).exists()] == []


def test_files_that_the_architecture_names_exist() -> None:
    cells = [cell for row in table_rows(page("architecture.md")) for cell in row]
    names = {name for cell in cells for name in re.findall(r"`([\w/]+(?:\.py|/))`", cell)}
    assert "tests/unit/test_docs.py" in names
    roots = (ROOT, ROOT / "oncopixel_pacs")
    assert [name for name in names if not any((root / name).exists() for root in roots)] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = set(re.findall(r"[\w./-]+\.md", yaml.safe_dump(navigation, width=1000)))
    assert {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} <= listed


@pytest.mark.parametrize("name", ["README.md", "docs/index.md", "docs/limits.md"])
def test_research_use_only_is_said(name: str) -> None:
    assert "research use only" in (ROOT / name).read_text(encoding="utf-8").lower()


def test_the_walk_over_settings_sees_through_unions_and_lists() -> None:
    class Leaf(BaseModel):
        colour: str

    class Other(BaseModel):
        size: int | None = None

    class Tree(BaseModel):
        leaves: tuple[Annotated[Leaf | Other, "x"], ...] = ()
        height: float = 2.5

    found = {path: as_documented(field) for path, field in settings_of(Tree)}
    assert found == {"leaves.colour": "required", "leaves.size": "none", "height": "`2.5`"}
    assert list(sections_in(NoneType)) == []
