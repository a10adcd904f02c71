"""The DICOM Conformance Statement (PS3.2 Annex N), written from the configuration that runs.

Every table comes from the tables that the server itself runs by: presentation contexts, status
codes, limits, destinations. Nothing is repeated here that could differ from what is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.conformance.installation import configuration, network, security
from oncopixel_pacs.conformance.markdown import name, table, yes
from oncopixel_pacs.deliver.dimse_status import MEANINGS, Meaning
from oncopixel_pacs.domain import ObjectKind, SegmentationForm
from oncopixel_pacs.imaging.codecs import SUPPORTED_TRANSFER_SYNTAXES
from oncopixel_pacs.receive.contexts import (
    PLAIN_TRANSFER_SYNTAXES,
    STORAGE_COMMITMENT,
    STORAGE_SOP_CLASSES,
    VERIFICATION,
)
from oncopixel_pacs.receive.pull.cmove import FIND, MOVE
from oncopixel_pacs.receive.status import STATUS_OF, SUCCESS, UNEXPECTED
from oncopixel_pacs.report.sop_classes import written_as
from oncopixel_pacs.settings import CStoreDestination, Settings

_STATUS_WORDS = {SUCCESS: "Stored, or held already: the file is synced and its row committed."}


def statement(settings: Settings, version: str) -> str:
    """Write the statement.

    Parameters
    ----------
    settings
        The configuration that it is about. No password, token or address of a peer is told.
    version
        Of the software.

    Returns
    -------
    str
        Markdown, ending in a line break; the same settings give the same text.
    """
    parts = (
        _title(version),
        _overview(settings),
        _introduction(),
        _model(settings),
        _services(settings),
        configuration(settings),
        network(settings),
        security(settings),
        _annexes(settings),
    )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _title(version: str) -> str:
    return f"""
# DICOM Conformance Statement: OncoPixel PACS {version}

**{RESEARCH_NOTICE}**

Written by `oncopixel conformance` from a running configuration, after the template of DICOM
PS3.2 Annex N. Conformance of two products does not prove that they work together; test it."""


def _overview(settings: Settings) -> str:
    return f"""
## 1 Conformance statement overview

OncoPixel PACS receives mammograms, has models read them, and sends what they say as DICOM
objects to archives. It is no archive, no viewer and no medical device.

Table 1-1: services of the network

{table(("SOP class", "UID", "as SCU", "as SCP"), _overview_rows(settings))}

Table 1-2: services of the web (PS3.18)

{table(("service", "as user agent", "as origin server"), _web_rows(settings))}

Media storage (PS3.10): Part 10 files are read by `oncopixel run` and by upload; no media is
written."""


def _overview_rows(settings: Settings) -> Iterator[Sequence[str]]:
    scu, scp = _outgoing_classes(settings), [*_incoming_classes(settings)]
    yield name(VERIFICATION), VERIFICATION, yes(_dimse_out(settings)), "yes"
    yield name(STORAGE_COMMITMENT), STORAGE_COMMITMENT, "no", "yes"
    for uid in dict.fromkeys((*scp, *scu)):
        yield name(uid), uid, yes(uid in scu), yes(uid in scp)
    pulls = any(item.type == "cmove" for item in settings.sources)
    for uid in (FIND, MOVE):
        yield name(uid), uid, yes(pulls), "no"


def _web_rows(settings: Settings) -> Iterator[Sequence[str]]:
    pulls = yes(any(item.type == "dicomweb" for item in settings.sources))
    yield "Studies service: Store (STOW-RS)", "no", "yes"
    yield "Studies service: Retrieve (WADO-RS)", pulls, "yes"
    yield "Studies service: Search (QIDO-RS)", pulls, "yes"
    yield "Worklist service (UPS-RS; beta)", yes(bool(settings.worklists)), "no"


def _introduction() -> str:
    return """
## 2 Introduction

For people who connect OncoPixel PACS with modalities and archives and know DICOM. Terms are
those of the standard. A "study" is analysed when it is complete; a "destination" is an archive
that takes results; a "peer" is a sender that may call."""


def _model(settings: Settings) -> str:
    titles = ", ".join(f"`{title}`" for title in _titles(settings))
    return f"""
## 3 Implementation model

One application entity, called by {titles}, with these real-world activities:

{table(("activity", "what happens"), _activities(settings))}

Receiving and sending do not wait for each other: what is received is kept before it is
acknowledged, and results wait in a ledger until each destination has taken them."""


def _activities(settings: Settings) -> Iterator[Sequence[str]]:
    yield "Receive images", "C-STORE and C-ECHO as SCP; the status says whether the object is safe"
    yield "Commit to storage", "N-ACTION is answered, N-EVENT-REPORT says what is kept, as SCP"
    if _dimse_out(settings):
        yield "Send results", "C-STORE as SCU, over one association for each study and destination"
    if any(item.type == "cmove" for item in settings.sources):
        yield "Fetch studies", "C-FIND and C-MOVE as SCU, on request; the move comes to ourselves"


def _services(settings: Settings) -> str:
    plain = table(("name", "UID"), ((name(uid), uid) for uid in PLAIN_TRANSFER_SYNTAXES))
    images = table(("name", "UID"), ((name(uid), uid) for uid in SUPPORTED_TRANSFER_SYNTAXES))
    return f"""
## 4 Service and interoperability description

### 4.1 Verification and storage commitment as SCP

Transfer syntaxes:

{plain}

Storage Commitment Push Model: N-ACTION of action type 1; a report names each instance as
committed or failed, after its file was read and its digest compared.

### 4.2 Storage as SCP

Level 2 (full): every attribute is kept as it comes. Transfer syntaxes of every class of table
1-1, in the order of preference:

{images}

Table 4-1: C-STORE response status

{table(("status", "meaning", "what the sender should do"), _answers())}

### 4.3 Storage as SCU

{_outgoing(settings).strip()}

Table 4-3: what we make of the response of a destination

{table(("status", "judgement"), ((_span(item), _judgement(item)) for item in MEANINGS))}

Any other status counts as a failure that may pass and is tried again.

### 4.4 Query and retrieve as SCU

{_sources(settings).strip()}"""


def _answers() -> Iterator[Sequence[str]]:
    yield f"0x{SUCCESS:04X}", _STATUS_WORDS[SUCCESS], "nothing"
    for error, code in STATUS_OF:
        said = " ".join((error.__doc__ or "").split("\n\n")[0].split())
        yield (
            f"0x{code:04X}",
            said,
            "send again later" if code >> 8 == 0xA7 else "correct the object",
        )
    yield f"0x{UNEXPECTED:04X}", "Unexpected error; our log names the place.", "tell us"


def _outgoing(settings: Settings) -> str:
    rows = []
    for item in settings.destinations:
        if isinstance(item, CStoreDestination):
            for uid, syntax in _contexts(item.objects, item.segmentation, item.retract):
                rows.append((item.name, name(uid), uid, name(syntax)))
    if not rows:
        return "No destination takes C-STORE in this configuration."
    head = ("destination", "SOP class", "UID", "transfer syntax")
    return f"""
Objects go out as they are stored; none is converted for a peer, so each is proposed in one
syntax.

Table 4-2: presentation contexts that we propose

{table(head, rows)}"""


def _sources(settings: Settings) -> str:
    named = [item.name for item in settings.sources if item.type == "cmove"]
    if not named:
        return "No source is asked by C-FIND and C-MOVE in this configuration."
    keys = "Study Instance UID (unique key), Series Instance UID, SOP Instance UID, SOP Class UID"
    return f"""
Sources: {", ".join(named)}. Study Root; C-FIND at the levels SERIES and IMAGE, C-MOVE at
the level SERIES, for the series that lack an object. Keys: {keys}. No extended negotiation."""


def _annexes(settings: Settings) -> str:
    kinds = ((kind.value, name(uid), uid) for kind, uid in _made(settings))
    return f"""
## 8 Annexes

### 8.1 Objects that are made

{table(("kind", "SOP class", "UID"), kinds)}

Attributes, templates (TID 1500, 4000, 2010) and every code are listed in the documents under
"Results" and "Result objects". Patient and study attributes are those of the source images;
UIDs are derived from models, software and source images, so that the same work gives the same
objects. No private attribute or private SOP class is used. Specific Character Set: that of the
source, or ISO_IR 192.

### 8.2 Attribute coercion

None of received objects. Results are written from a copy of a source header in which what would
break a result is repaired; every repair is told with the job."""


def _made(settings: Settings) -> Iterator[tuple[ObjectKind, str]]:
    seen = set()
    for item in settings.destinations:
        kinds = (*item.objects, ObjectKind.REJECTION) if item.retract else item.objects
        for kind in kinds:
            found = (kind, written_as(kind, item.segmentation)[0])
            if found not in seen:
                seen.add(found)
                yield found


def _contexts(
    kinds: Iterable[ObjectKind], form: SegmentationForm, retract: bool
) -> Iterator[tuple[str, str]]:
    wanted = [*kinds, *([ObjectKind.REJECTION] if retract else [])]
    yield from dict.fromkeys(written_as(kind, form) for kind in wanted)


def _outgoing_classes(settings: Settings) -> list[str]:
    return list(
        dict.fromkeys(
            uid
            for item in settings.destinations
            if isinstance(item, CStoreDestination)
            for uid, _ in _contexts(item.objects, item.segmentation, item.retract)
        )
    )


def _incoming_classes(settings: Settings) -> Iterator[str]:
    yield from dict.fromkeys((*STORAGE_SOP_CLASSES, *settings.receive.further_sop_classes))


def _dimse_out(settings: Settings) -> bool:
    return any(item.type == "cstore" for item in settings.destinations)


def _titles(settings: Settings) -> tuple[str, ...]:
    return (settings.ae_title, *settings.receive.further_ae_titles)


def _span(item: Meaning) -> str:
    first, last = f"0x{item.first:04X}", f"0x{item.last:04X}"
    return first if first == last else f"{first} to {last}"


def _judgement(item: Meaning) -> str:
    if item.accepted:
        return f"accepted. {item.sentence}".strip()
    kind = "refused for good" if item.permanent else "passing; tried again"
    return f"{kind}. {item.sentence}"
