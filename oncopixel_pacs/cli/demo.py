"""``oncopixel demo``."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
from pydicom import dcmread
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.demo.scenario import Outcome, play, prepare_folder, running


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path(
        "oncopixel-demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Which synthetic woman.")] = 1,
    lesion: Annotated[bool, typer.Option("--lesion/--no-lesion", help="With a lesion.")] = True,
    http_port: Annotated[int, typer.Option(help="Port of the status page; 0 picks one.")] = 0,
    keep: Annotated[
        bool | None,
        typer.Option("--keep/--no-keep", help="Keep serving; only at a terminal when absent."),
    ] = None,
) -> None:
    """Show the whole loop on this machine.

    Starts an archive (Orthanc where it is installed) and the server, sends a synthetic study
    by C-STORE from another process, waits, and shows what came back and where to look.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    folder = out.absolute()
    prepare_folder(folder)
    # Unwinds like an error, so that archive and server do not outlive us.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")
        said: list[str] = []

        def tell(text: str) -> None:
            progress.update(task, description=text)
            if not console.is_terminal and said[-1:] != [text]:
                console.print(f"· {text}")
            said.append(text)

        with running(folder, http_port, tell) as (archive, ports):
            outcome = play(folder, archive, ports, seed, lesion, tell)
            progress.stop()
            _show(console, outcome)
            if keep if keep is not None else sys.stdin.isatty() and sys.stdout.isatty():
                console.print("The server keeps running; stop it with Ctrl-C.")
                _wait_for_interrupt()
    if outcome.report.problems:
        raise typer.Exit(1)


def _show(console: Console, outcome: Outcome) -> None:
    table = Table(title="Results found in the archive", title_justify="left")
    for heading in ("Object", "Series description", "SOP class", "Size", "Accepted by"):
        table.add_column(heading, justify="right" if heading == "Size" else "left")
    sent = {item["sop_instance_uid"]: item for item in outcome.job["objects"]}
    for path in outcome.received:
        header = dcmread(path, stop_before_pixels=True)
        item = sent[str(header.SOPInstanceUID)]
        states = ", ".join(
            f"{outcome.archive} ({delivery['status']})" for delivery in item["deliveries"]
        )
        table.add_row(
            item["kind"].upper(),
            item["series_description"],
            header.SOPClassUID.name,
            f"{path.stat().st_size / 1024:.0f} KiB",
            states,
        )
    console.print(table)
    _show_findings(console, outcome)
    report = outcome.report
    verdict = "no error" if not report.problems else f"{len(report.problems)} problems"
    console.print(f"Validated with {', '.join(report.tools) or 'our own gate only'}: {verdict}")
    for problem in report.problems:
        console.print(f"  {problem}", markup=False)
    console.print(f"Seconds from first C-STORE to the last result: {outcome.seconds:.1f}")
    for picture in outcome.pictures:
        console.print(f"Picture  {picture}", markup=False, soft_wrap=True)
    console.print(f"Status   {outcome.status_url}jobs/{outcome.job['id']}", soft_wrap=True)
    console.print(RESEARCH_NOTICE)


def _show_findings(console: Console, outcome: Outcome) -> None:
    table = Table(title="Findings", title_justify="left")
    for heading in ("View", "Score", "Finding", "Probability", "Long axis", "Area"):
        table.add_column(heading)
    for image in outcome.job["result"]["images"]:
        view = f"{image['laterality']} {image['view']}"
        probability = image["probability"]
        score = "" if probability is None else f"{probability:.0%}"
        for finding in image["findings"]:
            table.add_row(
                view,
                score,
                finding["tracking_id"],
                f"{finding['probability']:.0%}",
                f"{finding['long_axis_mm']:.1f} mm",
                f"{finding['area_mm2']:.0f} mm²",
            )
        if not image["findings"]:
            table.add_row(view, score, image.get("reason_sentence") or "none", "", "", "")
    console.print(table)


def _wait_for_interrupt() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
