"""``oncopixel studies`` and ``oncopixel jobs``: the status from the shell."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column
from rich.text import Text

from oncopixel_pacs.audit import AuditEvent, AuditKind
from oncopixel_pacs.cli.answers import print_json
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.domain import Job, JobState, Study
from oncopixel_pacs.domain.conflicts import Difference, ShownConflict
from oncopixel_pacs.errors import ConfigurationError, NotFound
from oncopixel_pacs.logs import printable
from oncopixel_pacs.opening import Store, open_existing, utc_now
from oncopixel_pacs.settings import load_settings
from oncopixel_pacs.store.cancelling import cancel_job

if TYPE_CHECKING:
    from oncopixel_pacs.conflict_settling import ConflictSettling

LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")]
JobArgument = Annotated[str, typer.Argument(help="Id of the job.")]
StudyArgument = Annotated[str, typer.Argument(help="Study Instance UID.")]
studies = typer.Typer(
    help="List studies; declare one complete; settle conflicts.", no_args_is_help=True
)
jobs = typer.Typer(help="List, show, retry and cancel jobs.", no_args_is_help=True)


@studies.command("list")
def list_studies(
    config: ConfigOption = None, limit: LimitOption = 20, as_json: JsonOption = False
) -> None:
    """List the studies received, newest first."""
    with _opened(config) as store:
        page = store.catalogue.studies(limit=limit)
    if as_json:
        print_json(tuple[Study, ...], page.items)
        return
    # What commands ask for is told whole, however narrow the terminal.
    uid = Column("Study Instance UID", overflow="fold")
    table = Table(uid, "State", "Images", "Revision", Column("Waiting for", overflow="fold"))
    for study in page.items:
        table.add_row(
            study.study_instance_uid,
            study.state,
            str(len(study.images)),
            str(study.revision),
            study.waiting_for,
        )
    Console().print(table)


@studies.command("complete")
def complete_study(
    study_instance_uid: StudyArgument, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Declare a study complete: it is analysed as it is, without waiting for more images."""
    with _opened(config) as store:
        waited = store.catalogue.mark_complete(study_instance_uid, utc_now())
    if as_json:
        print_json(dict[str, object], {"study_instance_uid": study_instance_uid, "waited": waited})
        return
    said = "is taken as complete" if waited else "is settled already; it waits for nothing"
    typer.echo(f"Study {study_instance_uid} {said}.")


@studies.command("conflicts")
def list_conflicts(
    study_instance_uid: StudyArgument, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List what came under the UIDs of a study with other content, and what differs."""
    with _opened(config) as store:
        found = _settling(store).of_study(study_instance_uid)
    if as_json:
        print_json(tuple[ShownConflict, ...], found)
        return
    image = Column("SOP Instance UID", overflow="fold")
    table = Table(Column("Id", no_wrap=True), image, "Attribute", "Held", "Came later")
    for item in found:
        told = [str(item.conflict.id), item.conflict.sop_instance_uid]
        for difference in item.differences or (Difference("(other bytes)", "", ""),):
            values = (difference.held, difference.other)
            table.add_row(*told, difference.name, *("–" if it is None else it for it in values))
            told = ["", ""]
    Console().print(table)


@studies.command("settle")
def settle_conflicts(
    study_instance_uid: StudyArgument,
    take: Annotated[
        bool,
        typer.Option(
            "--take/--dismiss",
            help="Put what came later in place of what is held and have the study read anew, or "
            "remove it. The content that is not kept is gone.",
        ),
    ],
    conflict: Annotated[
        list[int] | None, typer.Option(min=1, help="Only this one; may be repeated.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide which content under a known UID is right: see the conflicts first."""
    with _opened(config) as store:
        settling = _settling(store)
        settle = settling.take if take else settling.dismiss
        settled = settle(study_instance_uid, conflict or ())
        if settled:
            _note(store, study_instance_uid, f"conflicts {'taken' if take else 'dismissed'}")
    if as_json:
        print_json(
            dict[str, object], {"study_instance_uid": study_instance_uid, "settled": settled}
        )
        return
    what = "have the content that came later" if take else "keep the content that is held"
    typer.echo(
        f"{settled} image{'' if settled == 1 else 's'} of study {study_instance_uid} {what}."
    )


@jobs.command("list")
def list_jobs(
    config: ConfigOption = None,
    limit: LimitOption = 20,
    state: Annotated[list[JobState] | None, typer.Option(help="Only these states.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    with _opened(config) as store:
        page = store.ledger.jobs(limit=limit, states=state or ())
    if as_json:
        print_json(tuple[Job, ...], page.items)
        return
    whole = Column("Job", no_wrap=True), Column("State", no_wrap=True)
    why = Column("Error or waiting for", overflow="fold")
    table = Table(*whole, "Created", "Findings", why)
    for job in page.items:
        findings = "" if job.result is None else str(len(job.result.findings))
        created = f"{job.created_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(job.id, job.state, created, findings, job.error or job.waiting_for)
    Console().print(table)


@jobs.command("show")
def show_job(job_id: JobArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one job: steps, findings, result objects and deliveries."""
    with _opened(config) as store:
        job = store.ledger.job(job_id)
    if as_json:
        print_json(Job, job)
        return
    console = Console()
    state = (job.state, "bold")
    why = printable(job.error or job.waiting_for)
    console.print(Text.assemble(f"Job {job.id}  ", state, f"  {why}"))
    for step in job.steps:
        end = step.finished_at
        seconds = f"{(end - step.started_at).total_seconds():.1f} s" if end else "running"
        said = f"  {step.name:<8} {step.state:<8} {seconds}, attempt {step.attempts}"
        console.print(said, markup=False)
    for item in job.objects:
        sent = [d for d in job.deliveries if d.sop_instance_uid == item.sop_instance_uid]
        where = ", ".join(f"{d.destination} {d.state} {d.status}" for d in sent) or "kept here"
        console.print(
            f"  {item.kind:<4} {item.series_description}  {printable(where)}", markup=False
        )


@jobs.command("retry")
def retry(
    job_id: Annotated[str | None, typer.Argument(help="Id of the job.")] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Every failed job that is the newest of its study.")
    ] = False,
    hours: Annotated[
        float | None,
        typer.Option(min=0, help="With --failed, only those that ended within so many hours."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue failed jobs again; results that exist are sent, not computed again."""
    # The engine takes longer to load than a list to print.
    from oncopixel_pacs.actions import retry_job
    from oncopixel_pacs.workflow.engine import WorkQueue

    if failed is (job_id is not None):
        raise typer.BadParameter("Name one job, or give --failed for all that are.")
    with _opened(config) as store, contextlib.closing(WorkQueue(store.database.engine)) as queue:
        if job_id is not None:
            again = [retry_job(store.ledger, queue, job_id)]
        else:
            again = []
            for item in _failed(store, hours):
                with contextlib.suppress(ConfigurationError, NotFound):  # changed meanwhile
                    again.append(retry_job(store.ledger, queue, item))
    if as_json:
        if failed:
            print_json(list[Job], again)
        else:
            print_json(Job, again[0])
    elif failed:
        typer.echo(f"{len(again)} job{'' if len(again) == 1 else 's'} queued again.")
    else:
        typer.echo(f"Job {again[0].id} is queued again.")


@jobs.command("cancel")
def cancel(job_id: JobArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Give up a job that failed: no alarm, and retention may delete its study.

    A retry takes it back.
    """
    with _opened(config) as store:
        job = cancel_job(store.database, job_id, utc_now())
        _note(store, job.study_instance_uid, f"cancelled job {job.id}")
    if as_json:
        print_json(Job, job)
        return
    typer.echo(f"Job {job.id} is cancelled.")


def _failed(store: Store, hours: float | None) -> list[str]:
    """Ids of the jobs that failed, the oldest first; a later revision makes up for an older."""
    since = None if hours is None else utc_now() - timedelta(hours=hours)
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = store.ledger.jobs(limit=200, cursor=cursor, states=(JobState.FAILED,))
        latest = store.ledger.latest_jobs([job.study_instance_uid for job in page.items])
        found += [
            job.id
            for job in page.items
            if latest[job.study_instance_uid].id == job.id
            and (since is None or (job.finished_at is not None and job.finished_at >= since))
        ]
        cursor = page.next_cursor
        if cursor is None:
            return found[::-1]


def _note(store: Store, study_instance_uid: str, detail: str) -> None:
    """Note in the audit trail what was done, as the API does."""
    study = store.catalogue.study(study_instance_uid)
    event = AuditEvent(
        AuditKind.CHANGE,
        utc_now(),
        f"{getpass.getuser()} (shell)",
        study_instance_uid=study_instance_uid,
        patient_id=study.header.patient_id,
        detail=detail,
    )
    store.audit.append(event)


def _settling(store: Store) -> ConflictSettling:
    # It reads headers, and lists shall be there at once.
    from oncopixel_pacs.conflict_settling import ConflictSettling

    return ConflictSettling(store.database, store.files, utc_now)


@contextlib.contextmanager
def _opened(config: Any) -> Iterator[Store]:
    store = open_existing(load_settings(config))
    try:
        yield store
    finally:
        store.database.close()
