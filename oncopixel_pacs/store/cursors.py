"""Cursors of lists: where the next part begins, whatever comes in front meanwhile."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime

from oncopixel_pacs.errors import NotFound


def encode_cursor(moment: datetime, key: str) -> str:
    """Opaque cursor for what follows the item with this time and key."""
    text = json.dumps([moment.isoformat(), key])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    """Time and key of a cursor.

    Raises
    ------
    NotFound
        When the cursor was not made by `encode_cursor`.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        moment, key = json.loads(base64.urlsafe_b64decode(padded))
        return datetime.fromisoformat(moment), str(key)
    except (ValueError, TypeError, binascii.Error) as exc:
        raise NotFound("The cursor is not one of ours; start again without it.") from exc
