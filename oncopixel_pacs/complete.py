"""When is a study complete? DICOM never says; these are our rules, as pure functions.

A study settles (1) soon after every expected view is there, (2) when neither an image nor an
open association of one of its senders was seen for a quiet time, (3) at the latest a fixed time
after its first unsettled image, so that a modality that trickles, repeats images or never hangs
up cannot hold it up for ever, or (4) when someone declares it complete.

Which views are expected follows from the headers of what is there, never from the order in
which it came. See `expected`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from oncopixel_pacs.domain import ImageFacts, Laterality, Ordered, Study
from oncopixel_pacs.domain.facts import rejected, with_implant
from oncopixel_pacs.settings import CompletionSettings

#: Classes of which one frame shows a breast as a mammogram does.
_PICTURES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1.2",  # Digital Mammography X-Ray, For Presentation
        "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, For Presentation
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture: films and uploads
    }
)
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
_NO_LEASES: Mapping[str, datetime] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a study is complete, and in words what it still waits for."""

    complete: bool
    waiting_for: str = ""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What of a study counts here; the same until something of it arrives.

    Attributes
    ----------
    declared_complete
        Whether someone said that nothing more will come.
    senders
        Calling AE titles of its images.
    """

    declared_complete: bool
    last_received_at: datetime
    senders: frozenset[str]
    wanted: Expected


def arrived(study: Study, settings: CompletionSettings) -> Arrived:
    """Sum up a study with every image received so far, in any order."""
    return Arrived(
        study.declared_complete,
        study.last_received_at,
        frozenset(item.calling_ae_title for item in study.instances),
        expected([item.facts for item in study.instances], settings.expected_views),
    )


def judge(
    study: Arrived,
    unsettled_since: datetime,
    now: datetime,
    settings: CompletionSettings,
    *,
    open_until: Mapping[str, datetime] = _NO_LEASES,
    watched_seconds: float = 0.0,
) -> Verdict:
    """Decide whether a study is complete; it is at once when someone declared it so.

    Parameters
    ----------
    unsettled_since
        When its first image arrived that is in no revision yet.
    now
        The current time; a clock that went backwards only makes us wait longer.
    open_until
        For each calling AE title, until when it counts as having an association open; in the
        past once the last was closed. It bounds quiet, never the longest wait.
    watched_seconds
        For how long the caller has seen this revision wait, by a clock that nobody can set:
        it bounds the wait when the times above are wrong.
    """
    if study.declared_complete or watched_seconds >= settings.max_wait_seconds:
        return Verdict(complete=True)
    last_image, wanted = study.last_received_at, study.wanted
    senders = sorted(study.senders & open_until.keys())
    calling = [name for name in senders if open_until[name] > now]
    last_sign = max([last_image, *(open_until[name] for name in senders)])
    quiet = timedelta(seconds=settings.quiet_seconds)
    latest = unsettled_since + timedelta(seconds=settings.max_wait_seconds)
    # Without expected views none can be missing, and only quiet counts.
    all_there = wanted.any and not wanted.missing
    if all_there:
        # Who is on the line may have more to say, though not for longer than quiet is.
        latest = min(last_image + quiet, latest)
        quiet = timedelta(seconds=settings.settle_seconds)
    until = min(last_sign + quiet, latest)
    if now >= until:
        return Verdict(complete=True)
    return Verdict(False, _in_words(wanted, all_there, calling, until, latest))


@dataclass(frozen=True, slots=True)
class Expected:
    """What the headers say should come.

    Attributes
    ----------
    any
        Whether a view is expected at all.
    missing
        Views that are expected and not there, such as ``R CC`` or ``L MLO implant displaced``.
    unplaced
        How many pictures name no breast or no view, so that they may be any of those.
    """

    any: bool
    missing: tuple[str, ...]
    unplaced: int


def expected(images: Sequence[ImageFacts], usual: Sequence[str]) -> Expected:
    """Say which views are expected and which of them are missing.

    - The usual views count; where the order names one breast, only those of that breast. Where
      it says *unilateral* and no side, the side of the images that are there.
    - A view is there once one picture shows all of it: For Presentation, or a Secondary Capture,
      acquired or made from a tomosynthesis. Volumes and their projections, For Processing
      images, parts of a breast, test objects, images for a biopsy or with contrast agent, and
      views with a modifier (spot, magnification, …) do not stand for it, and neither does a
      repeat for another view.
    - What a rejection note takes back is not there.
    - A breast with an implant is expected with the implant displaced as well (Eklund).
    - A For Processing image is expected to be followed by its For Presentation twin: one that
      names it as its source, else one of the same view. The other way round nothing is expected.

    Parameters
    ----------
    images
        Of the study, in any order.
    usual
        Names of views, such as ``R CC``.
    """
    taken_back = rejected(images)
    images = [item for item in images if item.sop_instance_uid not in taken_back]
    pictures = [item for item in images if _is_picture(item)]
    usual = _of_ordered_side(images, pictures, usual)
    present = {item.name for item in pictures if _is_whole(item) and not item.view_modifiers}
    displaced = {item.name for item in pictures if _is_whole(item) and item.implant_displaced}
    implants = with_implant(images)
    missing = [name for name in usual if name not in present]
    missing += [
        f"{name} implant displaced"
        for name in usual
        if name not in displaced and any(name.startswith(f"{side} ") for side in implants)
    ]
    twins = (kind for kind in _without_twin(images, pictures) if " ".join(kind) not in missing)
    missing += [" ".join((*kind, "For Presentation")) for kind in twins]
    unplaced = sum(item.laterality is None or item.view is None for item in pictures)
    return Expected(bool(usual), tuple(missing), unplaced)


def _is_picture(facts: ImageFacts) -> bool:
    return (
        facts.sop_class_uid in _PICTURES
        and facts.modality == "MG"
        and facts.presentation_intent != "FOR PROCESSING"
        # A volume that is wrapped into a Secondary Capture has many frames, or private pixels.
        and facts.has_pixel_data
        and facts.frames == 1
        and not _is_special(facts)
    )


def _is_special(facts: ImageFacts) -> bool:
    """Whether an image stands for no view whatever else it says, nor is followed by a twin."""
    return facts.quality_control or facts.stereotactic or facts.projection or facts.contrast


def _is_for_processing(facts: ImageFacts) -> bool:
    return not _is_special(facts) and (
        facts.sop_class_uid == _FOR_PROCESSING
        or (facts.modality == "MG" and facts.presentation_intent == "FOR PROCESSING")
    )


def _is_whole(facts: ImageFacts) -> bool:
    return not facts.partial_view


def _of_ordered_side(
    images: Iterable[ImageFacts], pictures: Iterable[ImageFacts], usual: Sequence[str]
) -> list[str]:
    said = {item.ordered for item in images} - {None}
    sides: set[str] = {str(side) for side in said if side in (Ordered.RIGHT, Ordered.LEFT)}
    if Ordered.BOTH in said or len(sides) == len(Laterality):
        return list(usual)
    if not sides and Ordered.ONE in said:
        sides = {str(item.laterality) for item in pictures if item.laterality is not None}
    # Headers that contradict each other are no reason to expect less.
    if len(sides) != 1:
        return list(usual)
    return [name for name in usual if name[:1] in sides]


def _without_twin(
    images: Iterable[ImageFacts], pictures: Sequence[ImageFacts]
) -> list[tuple[str, ...]]:
    raw = {item.sop_instance_uid: item for item in images if _is_for_processing(item)}
    made_from = {uid for item in pictures for uid in item.source_uids}
    free = Counter(_kind(item) for item in pictures if not raw.keys() & set(item.source_uids))
    lacking = Counter(_kind(item) for uid, item in raw.items() if uid not in made_from)
    return sorted(lacking - free)


def _kind(facts: ImageFacts) -> tuple[str, ...]:
    return facts.name, *sorted(facts.view_modifiers)


def _in_words(
    wanted: Expected, all_there: bool, calling: list[str], until: datetime, latest: datetime
) -> str:
    # While someone is on the line the end of quiet moves on: only the longest wait is sure.
    if calling:
        end = f"the end of the association of {', '.join(calling)} and then quiet"
        end += f", at the latest {latest:%H:%M:%S} UTC"
    else:
        end = f"quiet until {until:%H:%M:%S} UTC"
    if all_there:
        return f"{end} (every view is there)"
    if not wanted.missing:
        return end
    unplaced = ""
    if wanted.unplaced:
        images = "image names" if wanted.unplaced == 1 else "images name"
        unplaced = f" ({wanted.unplaced} {images} no breast or view)"
    return f"views {', '.join(wanted.missing)}{unplaced}, or {end}"
