"""Requests that the acceptor makes on an association which the peer opened: N-EVENT-REPORT.

The library's own way stops serving the peer until it answers. Here the answer is picked out of
what the peer sends, so that it may store, echo or release all the while.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA

_POLL_SECONDS = 0.05


class AskingDimse(DIMSEServiceProvider):
    """DIMSE provider of an acceptor that can ask too."""

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        self._sending = threading.Lock()
        self._asking = threading.Lock()
        self._answers: SimpleQueue[Any] | None = None
        self._after_answer: list[Callable[[], None]] = []

    def after_answer(self, action: Callable[[], None]) -> None:
        """Call `action` once the request that is being served has been answered."""
        self._after_answer.append(action)

    def ask(self, request: N_EVENT_REPORT, context_id: int, seconds: float) -> int | None:
        """Send a request; one at a time (PS3.7 D.3.3.3: no asynchronous operations).

        Returns
        -------
        int or None
            Status of the answer; ``None`` when none came before time or association ended.
        """
        with self._asking:
            answers: SimpleQueue[Any] = SimpleQueue()
            self._answers = answers
            try:
                self.send_msg(request, context_id)
                deadline = time.monotonic() + seconds
                while self.assoc.is_established and time.monotonic() < deadline:
                    try:
                        return int(answers.get(timeout=_POLL_SECONDS).Status)
                    except Empty:
                        continue
            finally:
                self._answers = None
        return None

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message whole: answers and requests come from different threads."""
        with self._sending:
            super().send_msg(primitive, context_id)
        if primitive.MessageIDBeingRespondedTo is not None:
            actions, self._after_answer = self._after_answer, []
            for action in actions:
                action()

    def send_now(self, context_id: int, content: bytes) -> None:
        """Send a message of one fragment; called by the thread of the upper layer provider.

        Parameters
        ----------
        content
            Message control header and command set (PS3.8 9.3.5.1).
        """
        with self._sending:
            waiting = list(self.dul.to_provider_queue.queue)
            if not all(isinstance(item, P_DATA) for item in waiting):
                return  # the association is being aborted
            if waiting:
                # Fragments of another message: not between them (PS3.8 E.1).
                fragment = P_DATA()
                fragment.presentation_data_value_list.append((context_id, content))
                self.dul.send_pdu(fragment)
                return
        item = struct.pack(">LB", len(content) + 1, context_id) + content
        line: Any = self.dul.socket
        line.send(struct.pack(">BxL", 0x04, len(item)) + item)

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message that is no answer to `ask`."""
        found = super().get_msg(block)
        message = found[1]
        if not isinstance(message, N_EVENT_REPORT) or not message.is_valid_response:
            return found
        answers = self._answers
        if answers is not None:
            answers.put(message)
        return None, None
