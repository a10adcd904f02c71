"""Settings of sending: attempts, proofs, and what may be deleted when all is proven."""

from __future__ import annotations

from pydantic import Field

from oncopixel_pacs.settings.section import PositiveSeconds, Section


class DeliverySettings(Section):
    """How results are sent and re-sent."""

    first_retry_seconds: PositiveSeconds = 2.0
    """Longest wait before the second attempt; each further one is twice as long."""
    max_retry_seconds: PositiveSeconds = 300.0
    """Longest wait between two attempts."""
    timeout_seconds: PositiveSeconds = 30.0
    """How long a destination may be silent."""
    circuit_failures: int = Field(default=5, ge=1)
    """Attempts in a row that find a destination unusable, after which it rests: then one job at
    a time tries it, until it answers."""
    confirm_seconds: PositiveSeconds = 3600.0
    """How long a result may stay unconfirmed at a destination that accepted it and can be asked;
    then an alarm stands on every page, and the result is sent again."""
    resends: int = Field(default=2, ge=0)
    """How often an unconfirmed result is sent again before only the alarm is left."""


class RetentionSettings(Section):
    """What may be deleted. Without `days` nothing ever is."""

    days: float | None = Field(default=None, ge=0, le=36_500)
    """A study is deleted so many days after its last image came and its last delivery was
    confirmed; never while one is not. Absent: kept for ever."""
