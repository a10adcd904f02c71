"""``oncopixel-train``: fit, evaluate, export and compare the models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from oncopixel_pacs.errors import OncoPixelError
from training.datasets import Split
from training.task import load_task, task_names

app = typer.Typer(
    name="oncopixel-train",
    help="Train the models that the server runs. Research use only.\n\n"
    "The usual order: [bold]fit[/bold], [bold]evaluate[/bold], [bold]export[/bold]; each reads "
    "what the one before left in --out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
console = Console()

TaskName = Annotated[
    str,
    typer.Option(
        "--task",
        help=f"Task to train: {', '.join(task_names())}, or the path of a TOML file of your own.",
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="ONCOPIXEL_DATA",
        help="Folder that holds one folder per real set (mias, ddsm_mini, cdd_cesm).",
    ),
]
OutFolder = Annotated[
    Path, typer.Option("--out", help="Folder of this run: checkpoint, logs, evaluation.")
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache", help="Folder for prepared images; share it between runs. Default: OUT/cache."
    ),
]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes that load images.")]


@app.command()
def fit(
    task: TaskName,
    out: OutFolder,
    data: DataFolder = None,
    cache: CacheFolder = None,
    workers: Workers = 1,
    start_from: Annotated[
        Path | None,
        typer.Option("--from", help="Checkpoint to start from. Default: fresh weights."),
    ] = None,
) -> None:
    """Train a task and leave ``final.ckpt`` in --out."""
    from training.fit import fit as run

    fitted = run(load_task(task), data, out, cache=cache, start_from=start_from, workers=workers)
    console.print(f"Trained for {fitted.seconds:.0f} s; weights in {fitted.checkpoint}.")
    console.print(f"Next: oncopixel-train evaluate --task {task} --out {out}")


@app.command()
def evaluate(
    task: TaskName,
    out: OutFolder,
    data: DataFolder = None,
    cache: CacheFolder = None,
    workers: Workers = 1,
    split: Annotated[
        Split, typer.Option(help="Part of the real sets to score; the threshold is val's.")
    ] = Split.VAL,
    draws: Annotated[
        int, typer.Option(min=10, help="Bootstrap draws of patients behind each interval.")
    ] = 2000,
) -> None:
    """Choose the operating point, score the model per set with intervals, write the report."""
    from training.evaluate import evaluate as run

    report = run(
        load_task(task),
        out / "final.ckpt",
        data,
        out,
        cache=cache,
        split=split,
        workers=max(workers, 1),
        draws=draws,
    )
    table = Table("set", "figure", "model", "baseline", title=f"Operating point {report.threshold}")
    for figure in report.figures:
        table.add_row(figure.subset, figure.name, str(figure.estimate), str(figure.baseline or ""))
    console.print(table)
    console.print(f"Next: oncopixel-train export --task {task} --out {out} --bundle FOLDER")


@app.command()
def export(
    task: TaskName,
    out: OutFolder,
    bundle: Annotated[
        Path, typer.Option("--bundle", help="Folder of the MONAI bundle; it is replaced.")
    ],
) -> None:
    """Write the MONAI bundle of an evaluated run and print the table that pins it."""
    from training.evaluate import read_report
    from training.export import export as run

    exported = run(load_task(task), out / "final.ckpt", read_report(out), bundle)
    typer.echo(exported.pin(bundle.name))


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(help="Folder of one evaluated run.")],
    other: Annotated[Path, typer.Argument(help="Folder of another, on the same images.")],
) -> None:
    """Compare two evaluated runs image by image, with paired intervals."""
    from training.evaluate import compare as run
    from training.evaluate import read_report

    table = Table("set", "figure", "second minus first", "images")
    for figure in run(read_report(one), read_report(other)):
        table.add_row(figure.subset, figure.name, str(figure.estimate), str(figure.estimate.images))
    console.print(table)


def main() -> None:
    """Run the command line; a known fault is one sentence and exit code 1."""
    try:
        app()
    except OncoPixelError as exc:
        typer.echo(str(exc), err=True)
        raise SystemExit(1) from exc
