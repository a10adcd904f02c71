"""Whether a destination is there, and whether it keeps what it is sent."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from oncopixel_pacs.deliver import OutgoingObject, echo, send
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.report.trial_picture import build_trial_picture
from oncopixel_pacs.settings import DestinationSettings, Settings


def ask(settings: Settings, destination: DestinationSettings) -> str:
    """Ask a destination whether it is there; see `deliver.echo`."""
    return echo(
        destination,
        calling_ae_title=settings.ae_title,
        timeout_seconds=settings.delivery.timeout_seconds,
        tls=settings.tls,
    )


def send_test(
    settings: Settings, now: Callable[[], datetime], destination: DestinationSettings
) -> str:
    """Send a picture of no patient, as results are sent, and say what became of it.

    Each time it is another object of the same study, so that a destination that refuses what it
    has does not mislead.

    Raises
    ------
    DeliveryFailed
        When it cannot be used, or did not take the object.
    """
    picture = build_trial_picture(destination.name, now())
    with tempfile.TemporaryDirectory(prefix="oncopixel-test-") as folder:
        path = Path(folder) / "test.dcm"
        path.write_bytes(picture.part10)
        (outcome,) = send(
            [OutgoingObject(picture.sop_instance_uid, picture.sop_class_uid, path)],
            destination,
            calling_ae_title=settings.ae_title,
            timeout_seconds=settings.delivery.timeout_seconds,
            tls=settings.tls,
        )
    if not outcome.accepted:
        said = outcome.error or f"{destination.name} did not take it."
        raise DeliveryFailed(said, permanent=outcome.permanent)
    answer = f" and answered {outcome.status}" if outcome.status else ""
    note = f" ({outcome.error})" if outcome.error else ""
    return (
        f"{destination.name} took the test picture{answer}{note}: patient {picture.patient_id}, "
        f"SOP Instance UID {picture.sop_instance_uid}. Delete it there."
    )
