"""What happens when an association cannot go on: it ends, and so does its connection."""

from __future__ import annotations

from typing import Any

import structlog
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.fsm import InvalidEventError, StateMachine

from oncopixel_pacs.receive.header import PARSE_ERRORS

log = structlog.get_logger()

#: The user's wish to abort (PS3.8 Table 9-10), which has no transition before the peer has asked
#: for an association (Sta2), and none once it is over and only the connection is left (Sta13).
_ABORT_REQUEST = "Evt15"
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
            if event != _ABORT_REQUEST:
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


def use_ending_state_machine(event: evt.Event) -> None:
    """Give a new association of an acceptor that state machine; a handler of EVT_CONN_OPEN."""
    provider: Any = event.assoc.dul
    provider.state_machine = EndingStateMachine(provider)


def stop_waiting(assoc: Association) -> None:
    """End the wait for an association request, as if its time were over."""
    queue: Any = assoc.dul.to_user_queue
    queue.put(None)
