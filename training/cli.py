"""``oncopixel-train``: fit, evaluate, export and compare the models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from oncopixel_pacs.child_process import share_cores
from oncopixel_pacs.errors import OncoPixelError
from training.datasets import Split
from training.recipe import recipe_names
from training.recipe_commands import (
    compare_recipes,
    evaluate_run,
    export_run,
    fit_named,
    is_recipe,
    is_recipe_run,
)
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
        help=f"Task to train: {', '.join([*task_names(), *recipe_names()])}, "
        "or the path of a YAML or TOML file of your own.",
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="ONCOPIXEL_DATA",
        help="Folder that holds one folder per real set, such as breakhis or cbis_ddsm.",
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
SetApart = Annotated[
    int,
    typer.Option(
        "--set-apart",
        min=0,
        help="Leave one patient in so many out of training, to choose operating point and "
        "calibration by (TOML tasks). Default: as the task says.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, help="Of weights, sampling and augmentation. Default: the task's."
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
    set_apart: SetApart = 0,
    seed: Seed = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Checkpoint to start from, or folder of a Hugging Face ViT. Default: fresh.",
        ),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try the task in seconds, on generated images.")
    ] = False,
    logger: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard, mlflow or wandb, beside CSV; may be given again."),
    ] = None,
) -> None:
    """Train a task, or take up a run of --out that was interrupted."""
    from training.fit import fit as run

    if is_recipe(task):
        if seed is not None:
            raise typer.BadParameter(
                f"{task} states its seed in its file; --seed is of TOML tasks."
            )
        fit_named(
            task,
            data,
            out,
            cache=cache,
            start_from=start_from,
            workers=workers,
            loggers=tuple(logger or ()),
            smoke=smoke,
        )
        _say_next("evaluate", task, out, data, cache)
        return
    if smoke or logger:
        raise typer.BadParameter(f"{task} has neither --smoke nor --logger.")

    chosen = load_task(task).with_set_apart(set_apart).with_seed(seed)
    fitted = run(chosen, data, out, cache=cache, start_from=start_from, workers=workers)
    console.print(f"Trained for {fitted.seconds:.0f} s; weights in {fitted.checkpoint}.")
    _say_next("evaluate", task, out, data, cache, set_apart)


@app.command()
def evaluate(
    task: TaskName,
    out: OutFolder,
    data: DataFolder = None,
    cache: CacheFolder = None,
    workers: Workers = 1,
    set_apart: SetApart = 0,
    choice_of: Annotated[
        Path | None,
        typer.Option(
            "--choice-of",
            help="Evaluated run of the task with patients set apart, whose operating point and "
            "calibration are taken.",
        ),
    ] = None,
    split: Annotated[Split, typer.Option(help="Part of the real sets to score.")] = Split.VAL,
    draws: Annotated[
        int, typer.Option(min=10, help="Bootstrap draws of patients behind each interval.")
    ] = 2000,
) -> None:
    """Choose the operating point, score the model per set with intervals, write the report."""
    from training.evaluate import evaluate as run
    from training.joining import task_of

    if is_recipe_run(out):
        console.print(evaluate_run(data, out, cache=cache, workers=workers, draws=draws))
        _say_next("export", task, out, data, cache)
        return

    report = run(
        task_of(load_task(task).with_set_apart(set_apart), out),
        out / "final.ckpt",
        data,
        out,
        cache=cache,
        split=split,
        choice_of=choice_of,
        workers=max(workers, 1),
        draws=draws,
    )
    table = Table("set", "figure", "model", "baseline", title=report.choice.heading)
    for figure in report.figures:
        table.add_row(figure.subset, figure.name, str(figure.estimate), str(figure.baseline or ""))
    console.print(table)
    _say_next("export", task, out, data, cache, set_apart)


@app.command()
def join(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of two or more runs of the task; order counts.")
    ],
    task: TaskName,
    out: OutFolder,
) -> None:
    """Join trainings of one task, of several seeds or without several patients, to one model."""
    from training.joining import join as run

    if is_recipe(task):
        raise typer.BadParameter(f"{task} is no TOML task; only trainings of those are joined.")
    run(load_task(task), runs, out)
    console.print(f"Next: oncopixel-train evaluate --task {task} --out {out}")


@app.command()
def export(
    task: TaskName,
    out: OutFolder,
    bundle: Annotated[
        Path, typer.Option("--bundle", help="Folder of the MONAI bundle; it is replaced.")
    ],
    data: DataFolder = None,
    cache: CacheFolder = None,
    set_apart: SetApart = 0,
    fold: Annotated[int, typer.Option(min=0, help="Fold whose weights are exported.")] = 0,
    licence: Annotated[
        Path | None, typer.Option(help="Text file with the licence of your weights.")
    ] = None,
    torchscript: Annotated[
        bool, typer.Option("--torchscript", help="Write models/model.ts as well.")
    ] = False,
) -> None:
    """Write the MONAI bundle of an evaluated run and print the table that pins it."""
    from training.evaluate import read_report
    from training.export import export as run
    from training.joining import task_of

    if is_recipe_run(out):
        for pin in export_run(
            data, out, bundle, cache=cache, fold=fold, licence=licence, torchscript=torchscript
        ):
            typer.echo(pin)
        return

    chosen = task_of(load_task(task).with_set_apart(set_apart), out)
    exported = run(chosen, out / "final.ckpt", read_report(out), bundle)
    typer.echo(exported.pin(bundle.name))


@app.command()
def compare(
    one: Annotated[Path | None, typer.Argument(help="Folder of one evaluated run.")] = None,
    other: Annotated[
        Path | None, typer.Argument(help="Folder of another, on the same images.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Task to train beside its twin, not folders.")
    ] = None,
    twin: Annotated[
        str | None, typer.Option("--with", help="Task to compare with. Default: the task's twin.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the comparison.")] = None,
    data: DataFolder = None,
    cache: CacheFolder = None,
    workers: Workers = 1,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try it in seconds, on generated images.")
    ] = False,
    draws: Annotated[int, typer.Option(min=10, help="Bootstrap draws of patients.")] = 1000,
) -> None:
    """Compare two evaluated runs image by image, or train a task and its twin on equal budgets."""
    from training.evaluate import compare as run
    from training.evaluate import read_report

    if task is not None:
        if out is None:
            raise typer.BadParameter("--task needs --out.")
        console.print(
            compare_recipes(
                task, twin, data, out, cache=cache, workers=workers, smoke=smoke, draws=draws
            )
        )
        return
    if one is None or other is None:
        raise typer.BadParameter("Give two folders of evaluated runs, or --task and --out.")
    table = Table("set", "figure", "second minus first", "images")
    for figure in run(read_report(one), read_report(other)):
        table.add_row(figure.subset, figure.name, str(figure.estimate), str(figure.estimate.images))
    console.print(table)


def _say_next(
    command: str, task: str, out: Path, data: Path | None, cache: Path | None, set_apart: int = 0
) -> None:
    """Print the command that follows, in one line that can be copied."""
    given = [f"--task {task}", f"--out {out}"]
    given += [f"--data {data}"] if data is not None else []
    given += [f"--cache {cache}"] if cache is not None else []
    given += [f"--set-apart {set_apart}"] if set_apart else []
    given += ["--bundle FOLDER"] if command == "export" else []
    console.print(f"Next: oncopixel-train {command} {' '.join(given)}", soft_wrap=True)


def main() -> None:
    """Run the command line; a known fault is one sentence and exit code 1."""
    share_cores()
    try:
        app()
    except OncoPixelError as exc:
        typer.echo(str(exc), err=True)
        raise SystemExit(1) from exc
