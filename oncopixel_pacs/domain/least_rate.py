"""The least rate of a body that is received: places are few, and one byte a minute keeps one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

#: No line over which images are sent is as slow, shared by several of them or not.
LEAST_BYTES_PER_SECOND = 1024


@dataclass
class LeastRate:
    """Times the pieces of a body; what we do with them meanwhile is not its sender's.

    Attributes
    ----------
    seconds
        How long a piece may take; over as long of waiting the least rate has to be kept.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _waited: float = field(default=0.0, init=False)
    _bytes: int = field(default=0, init=False)

    async def piece(self, coming: Awaitable[bytes | None]) -> bytes | None:
        """Wait for the next piece, whose own limit of time is its caller's.

        Raises
        ------
        TimeoutError
            When so little came that it is no use to wait for the rest.
        """
        asked = self.clock()
        found = await coming
        self._waited += self.clock() - asked
        self._bytes += len(found or b"")
        if self._waited >= self.seconds:
            if found and self._bytes < self._waited * LEAST_BYTES_PER_SECOND:
                raise TimeoutError
            self._waited, self._bytes = 0.0, 0
        return found
