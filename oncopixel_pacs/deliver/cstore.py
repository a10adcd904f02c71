"""C-STORE: to a PACS that takes results, and as a modality that sends images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import PresentationContext, build_context

from oncopixel_pacs.deliver.association import VERIFICATION, Peer, opened
from oncopixel_pacs.deliver.dimse_status import meaning_of
from oncopixel_pacs.deliver.outcome import Outcome, OutgoingObject
from oncopixel_pacs.errors import ConfigurationError, DeliveryFailed, UnreadableImage
from oncopixel_pacs.imaging.transcode import write_plain
from oncopixel_pacs.settings import CStoreDestination, TlsSettings
from oncopixel_pacs.tls import requestor_context

#: Context identifiers are the odd numbers up to 255 (PS3.8 9.3.2.2).
MAX_CONTEXTS = 128
#: What every archive takes (PS3.5 10.1), the better one first.
PLAIN_SYNTAXES: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
#: The library starts the clock for the answer when it queues an object: what the wire takes
#: is allowed on top, down to this rate.
SLOWEST_BYTES_PER_SECOND = 256 << 10


@dataclass(frozen=True, slots=True)
class _Source:
    """One file that is to be sent; the UID is empty where only the file knows it."""

    path: Path
    sop_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class _Parcel:
    """One Part 10 file and what its file meta information says of it."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str

    @property
    def context(self) -> tuple[str, str]:
        """What the peer must take for this object."""
        return self.sop_class_uid, self.transfer_syntax_uid


def send(
    objects: Sequence[OutgoingObject],
    destination: CStoreDestination,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsSettings,
) -> Iterator[Outcome]:
    """Send result objects over one association; see `oncopixel_pacs.deliver.send`."""
    peer = peer_of(destination, calling_ae_title, tls)
    sources = [_Source(item.path, item.sop_instance_uid) for item in objects]
    yield from _send(sources, peer, timeout_seconds, PLAIN_SYNTAXES)


def send_files(
    paths: Sequence[Path],
    host: str,
    port: int,
    *,
    called_ae_title: str,
    calling_ae_title: str,
    timeout_seconds: float = 30.0,
) -> Iterator[Outcome]:
    """Act as a modality: C-STORE Part 10 files as they are.

    Files are read while they are sent, never decoded, and never re-encoded.

    Yields
    ------
    Outcome
        One per file, in their order, with `Outcome.path`; a file that is no Part 10 file is a
        permanent failure of its own.

    Raises
    ------
    DeliveryFailed
        When there is no association.
    """
    peer = Peer(called_ae_title, host, port, called_ae_title, calling_ae_title)
    yield from _send([_Source(path) for path in paths], peer, timeout_seconds)


def echo(
    destination: CStoreDestination,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsSettings,
) -> str:
    """C-ECHO (PS3.7 9.1.5); see `oncopixel_pacs.deliver.echo`."""
    peer = peer_of(destination, calling_ae_title, tls)
    with opened(peer, [build_context(VERIFICATION)], timeout_seconds) as assoc:
        if not assoc.is_established:
            raise DeliveryFailed(
                f"{peer.name} ({peer.place}) does not take C-ECHO; it may take objects all the "
                "same, so send one.",
                permanent=False,
            )
        answer = assoc.send_c_echo()
    if answer.get("Status") != 0x0000:
        raise DeliveryFailed(
            f"{peer.name} ({peer.place}) did not answer C-ECHO with success; look at its log.",
            permanent=False,
            status=_code(answer),
        )
    return f"C-ECHO answered 0x0000 by {peer.place}"


def peer_of(destination: CStoreDestination, calling_ae_title: str, tls: TlsSettings) -> Peer:
    """Whom a destination stands for.

    Raises
    ------
    DeliveryFailed
        When our side of TLS is not in order.
    """
    try:
        context = requestor_context(tls) if destination.tls else None
    except ConfigurationError as exc:
        raise DeliveryFailed(str(exc), permanent=False) from exc
    return Peer(
        destination.name,
        destination.host,
        destination.port,
        destination.ae_title,
        calling_ae_title,
        context,
    )


def _send(
    sources: Sequence[_Source],
    peer: Peer,
    timeout_seconds: float,
    fallbacks: tuple[str, ...] = (),
) -> Iterator[Outcome]:
    items = [_read(source) for source in sources]
    batch: list[_Parcel | Outcome] = []
    contexts: set[tuple[str, str]] = set()
    for item in items:
        if isinstance(item, _Parcel):
            # Each may need a second context, for what it falls back on.
            if 2 * len(contexts | {item.context}) > MAX_CONTEXTS:
                yield from _send_batch(batch, peer, timeout_seconds, fallbacks)
                batch, contexts = [], set()
            contexts.add(item.context)
        batch.append(item)
    yield from _send_batch(batch, peer, timeout_seconds, fallbacks)


def _send_batch(
    batch: Sequence[_Parcel | Outcome],
    peer: Peer,
    timeout_seconds: float,
    fallbacks: tuple[str, ...],
) -> Iterator[Outcome]:
    """Send over one association, and over another when the peer hangs up on an object.

    So an object that upsets the peer does not keep those behind it from being sent.
    """
    done = 0
    while done < len(batch):
        try:
            for outcome in _send_until_lost(batch[done:], peer, timeout_seconds, fallbacks):
                done += 1
                yield outcome
        except DeliveryFailed as exc:
            if done == 0:
                raise
            yield from (_missed(item, str(exc)) for item in batch[done:])
            return


def _send_until_lost(
    batch: Sequence[_Parcel | Outcome],
    peer: Peer,
    timeout_seconds: float,
    fallbacks: tuple[str, ...],
) -> Iterator[Outcome]:
    wanted = dict.fromkeys(item.context for item in batch if isinstance(item, _Parcel))
    if not wanted:
        yield from (item for item in batch if isinstance(item, Outcome))
        return
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in wanted]
    contexts += [
        build_context(sop_class, list(fallbacks))
        for sop_class in dict.fromkeys(sop_class for sop_class, _ in wanted)
        if fallbacks
    ]
    with opened(peer, contexts, timeout_seconds) as assoc:
        taken = {_pair(context) for context in assoc.accepted_contexts}
        for item in batch:
            if isinstance(item, Outcome):
                yield item
                continue
            begin = time.monotonic()
            outcome = _store_as_taken(assoc, item, taken, peer, timeout_seconds, fallbacks)
            yield outcome
            if not outcome.status and not outcome.permanent:
                if time.monotonic() - begin >= timeout_seconds:
                    raise DeliveryFailed(
                        f"{peer.name} ({peer.place}) fell silent; look at its log and load.",
                        permanent=False,
                    )
                return


def _store_as_taken(
    assoc: Association,
    item: _Parcel,
    taken: set[tuple[str, str]],
    peer: Peer,
    timeout_seconds: float,
    fallbacks: tuple[str, ...],
) -> Outcome:
    """Send an object as it is, or else in a syntax that the peer takes (PS3.5 10.1)."""
    if item.context in taken:
        return _store(assoc, item, peer, timeout_seconds)
    syntax = next((uid for uid in fallbacks if (item.sop_class_uid, uid) in taken), "")
    if not syntax:
        return _not_taken(item, peer)
    with tempfile.TemporaryDirectory(prefix="oncopixel-") as folder:
        path = Path(folder) / "object.dcm"
        try:
            write_plain(item.path, path, implicit_vr=syntax == ImplicitVRLittleEndian)
        except (UnreadableImage, OSError, ValueError) as exc:
            return Outcome(
                item.sop_instance_uid,
                False,
                "",
                f"{peer.name} takes no object in transfer syntax {item.transfer_syntax_uid}, and "
                f"it could not be written in another ({exc}).",
                True,
                item.path,
            )
        outcome = _store(assoc, replace(item, path=path), peer, timeout_seconds)
    return replace(outcome, path=item.path)


def _store(assoc: Association, item: _Parcel, peer: Peer, timeout_seconds: float) -> Outcome:
    # Send the file's bytes, not what a parser makes of them.
    _config.STORE_SEND_CHUNKED_DATASET = True
    try:
        size = item.path.stat().st_size
        assoc.dimse_timeout = timeout_seconds + size / SLOWEST_BYTES_PER_SECOND
        answer = assoc.send_c_store(item.path)
    except (OSError, ValueError, AttributeError, RuntimeError) as exc:
        if not assoc.is_established:
            said = f"{peer.name} ended the association before this object; it is sent again."
            return _missed(item, said)
        return _missed(item, f"The object could not be sent to {peer.name} ({exc}).")
    if "Status" not in answer:
        assoc.abort()
        return _missed(
            item,
            f"{peer.name} gave no answer for this object, so it may or may not have it; "
            "it is sent again under the same UID.",
        )
    meaning = meaning_of(int(answer.Status))
    return Outcome(
        item.sop_instance_uid,
        meaning.accepted,
        _code(answer),
        _sentence(peer, meaning.sentence, answer),
        meaning.permanent,
        item.path,
    )


def _read(source: _Source) -> _Parcel | Outcome:
    path = source.path
    try:
        meta, _ = split_dataset(path)
        return _Parcel(
            path,
            source.sop_instance_uid or str(meta.MediaStorageSOPInstanceUID),
            str(meta.MediaStorageSOPClassUID),
            str(meta.TransferSyntaxUID),
        )
    except OSError as exc:
        reason, permanent = str(exc.strerror), False
    except (InvalidDicomError, AttributeError, ValueError, EOFError):
        reason, permanent = "it is no DICOM Part 10 file", True
    error = f"{path.name} cannot be sent: {reason}."
    return Outcome(source.sop_instance_uid, False, "", error, permanent, path)


def _pair(context: PresentationContext) -> tuple[str, str]:
    return str(context.abstract_syntax), str(context.transfer_syntax[0])


def _not_taken(item: _Parcel, peer: Peer) -> Outcome:
    return Outcome(
        item.sop_instance_uid,
        False,
        "",
        f"{peer.name} does not take SOP class {item.sop_class_uid} in transfer syntax "
        f"{item.transfer_syntax_uid}; allow it there, or leave this kind of object out.",
        True,
        item.path,
    )


def _missed(item: _Parcel | Outcome, error: str) -> Outcome:
    return Outcome(item.sop_instance_uid, False, "", error, False, item.path)


def _code(answer: Dataset) -> str:
    return f"0x{int(answer.Status):04X}" if "Status" in answer else ""


def _sentence(peer: Peer, sentence: str, answer: Dataset) -> str:
    if not sentence:
        return ""
    comment = str(answer.get("ErrorComment") or "").strip()
    text = f"{peer.name} answered {_code(answer)}: {sentence[0].lower()}{sentence[1:]}"
    return f"{text} Its comment: {comment}" if comment else text
