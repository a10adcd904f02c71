"""``oncopixel samples``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oncopixel_pacs.cli.progress import tracked
from sample_dicom.pictures import PictureKind, write_pictures
from sample_dicom.study import write_studies


def samples(
    out: Annotated[Path, typer.Option(help="Folder to write to; one folder per study.")],
    studies: Annotated[int, typer.Option(min=1, help="Number of studies.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first study.")] = 1,
    lesion: Annotated[
        bool, typer.Option("--lesion/--no-lesion", help="Whether a breast has a lesion.")
    ] = True,
    rows: Annotated[int, typer.Option(min=128, max=4096, help="Rows of each image.")] = 1024,
    columns: Annotated[int, typer.Option(min=104, max=4096, help="Columns of each image.")] = 832,
    picture: Annotated[
        PictureKind | None, typer.Option(help="Write pictures of this kind instead of mammograms.")
    ] = None,
) -> None:
    """Write synthetic four-view mammography studies: no patient, a lesion you can count on.

    With --picture studies of one drawn picture each, for models of other images.
    """
    if picture is not None:
        drawn = write_pictures(out, studies, seed, picture, rows=rows, columns=columns)
        count = sum(1 for _ in tracked(drawn, description="Writing", total=studies))
        typer.echo(f"{count} pictures in {out}")
        return
    written = write_studies(out, studies, seed, lesion=lesion, rows=rows, columns=columns)
    count = sum(1 for _ in tracked(written, description="Writing", total=4 * studies))
    typer.echo(f"{count} images of {studies} studies in {out}")
