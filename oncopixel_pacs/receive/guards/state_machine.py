"""What happens when an association cannot go on: it ends, and so does its connection."""

from __future__ import annotations

from typing import Any

import structlog
from pynetdicom.association import Association
from pynetdicom.fsm import InvalidEventError, StateMachine

from oncopixel_pacs.receive.header import PARSE_ERRORS

log = structlog.get_logger()

_BROKEN: tuple[type[Exception], ...] = (InvalidEventError, OSError, *PARSE_ERRORS)


class EndingStateMachine(StateMachine):
    """State machine of PS3.8 9.2 that ends the association where it cannot go on.

    The library's lets its thread die there, and the connection stays open.
    """

    def do_action(self, event: str) -> None:
        """Make the transition of an event; where that fails close the connection and stop."""
        try:
            super().do_action(event)
        except _BROKEN as exc:
            log.warning(
                "association.broken_off",
                transition=f"{self.current_state} {event}",
                error=type(exc).__name__,
            )
            assoc: Any = self.dul.assoc
            assoc.is_aborted = True
            assoc.is_established = False
            assoc._kill = True
            self.dul.kill_dul()
            if self.dul.socket is not None:
                self.dul.socket.close()
            stop_waiting(assoc)


def stop_waiting(assoc: Association) -> None:
    """End the wait for an association request, as if its time were over."""
    queue: Any = assoc.dul.to_user_queue
    queue.put(None)
