"""What is written and sent, in closed lists. Speak of them as `domain`."""

from __future__ import annotations

from enum import StrEnum


class ObjectKind(StrEnum):
    """Kinds of result objects; destinations choose among them.

    A rejection note is not chosen: it follows what it takes back.
    """

    SEG = "seg"
    SR = "sr"
    CAD_SR = "cad-sr"
    SC = "sc"
    GSPS = "gsps"
    KOS = "kos"
    PDF = "pdf"
    REJECTION = "rejection"


class SegmentationForm(StrEnum):
    """How a segmentation is written (PS3.3 C.8.20.2); each destination gets one form.

    `BINARY` has a bit for each pixel and finding, `FRACTIONAL` the model's probability,
    `LABELMAP` the number of the finding (Label Map Segmentation, a SOP class of its own).
    """

    BINARY = "binary"
    FRACTIONAL = "fractional"
    LABELMAP = "labelmap"


class DeliveryState(StrEnum):
    """How far one result object has come on its way to one destination.

    `ACCEPTED` is the peer's own word (its C-STORE response); `CONFIRMED` is our finding the
    object there afterwards.
    """

    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    FAILED = "failed"
