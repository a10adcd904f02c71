"""What the overview and the destinations are told from; the HTTP side has it, and ``top`` too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.activity import Activity
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.conflicts import Conflicts
from oncopixel_pacs.store.free_space import FreeSpace
from oncopixel_pacs.store.installation import Backups
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.proofs import Proofs
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.store.retention_clock import RetentionClock
from oncopixel_pacs.store.webhooks import Webhooks
from oncopixel_pacs.store.workitems import Workitems


class Standing(Protocol):
    """Where things stand is read from these."""

    @property
    def activity(self) -> Activity:
        """Counts over time."""

    @property
    def catalogue(self) -> Catalogue:
        """What was received."""

    @property
    def free_space(self) -> FreeSpace:
        """Of the data directory's volume."""

    @property
    def ledger(self) -> Ledger:
        """What is worked on."""

    @property
    def outbox(self) -> Outbox:
        """What waits to be sent."""

    @property
    def backups(self) -> Backups:
        """When the last one was made."""

    @property
    def retention_clock(self) -> RetentionClock:
        """Whether retention believes the clock."""

    @property
    def quarantine(self) -> Quarantine:
        """What the gate held back."""

    @property
    def proofs(self) -> Proofs:
        """What is not confirmed."""

    @property
    def conflicts(self) -> Conflicts:
        """What came again under its UID with other content."""

    @property
    def workitems(self) -> Workitems:
        """What worklists asked of us."""

    @property
    def audit(self) -> AuditTrail:
        """Who did what."""

    @property
    def webhooks(self) -> Webhooks:
        """Who is to be told of finished studies."""

    @property
    def settings(self) -> Settings:
        """The configuration."""

    @property
    def models_ready(self) -> Callable[[], bool | None]:
        """Whether they are loaded; ``None`` when another process runs them."""

    @property
    def models_alarm(self) -> Callable[[], str]:
        """What is wrong with them; empty when nothing is."""

    @property
    def now(self) -> Callable[[], datetime]:
        """The time, in UTC."""
