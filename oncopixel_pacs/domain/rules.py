"""Which images a site gives to a model: a rule of plain lists, compared and never evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from oncopixel_pacs.domain.facts import ImageFacts


@dataclass(frozen=True, slots=True)
class Origin:
    """How an image came; empty where it did not come by C-STORE or nobody wrote it down.

    Attributes
    ----------
    calling_ae_title
        AE title of the sender, or what stands in its place, such as ``UPLOAD``.
    called_ae_title
        Which of our AE titles it called.
    """

    calling_ae_title: str = ""
    called_ae_title: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Lists of what an image may have; an empty list asks nothing, every other must agree.

    Values are compared without regard to case: whole, but `manufacturers` with the beginning of
    Manufacturer (0008,0070), and `series_descriptions` with any part of Series Description
    (0008,103E).
    """

    modalities: tuple[str, ...] = ()
    sop_class_uids: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    calling_ae_titles: tuple[str, ...] = ()
    called_ae_titles: tuple[str, ...] = ()
    manufacturers: tuple[str, ...] = ()
    station_names: tuple[str, ...] = ()
    series_descriptions: tuple[str, ...] = ()

    def objection(self, facts: ImageFacts, origin: Origin) -> str:
        """Return what of the image the rule leaves out, one sentence; empty when it fits."""
        for words, wanted, read, agrees in _CONDITIONS:
            asked = wanted(self)
            found = read(facts, origin)
            if asked and not any(agrees(found.casefold(), item.casefold()) for item in asked):
                return f"{words} is {found or 'not known'}; the rule asks for {_either(asked)}."
        return ""

    @property
    def conditions(self) -> tuple[str, ...]:
        """The rule in words, one condition each; empty when it asks nothing."""
        return tuple(
            f"{words}: {_either(asked)}"
            for words, wanted, *_ in _CONDITIONS
            if (asked := wanted(self))
        )


def _either(items: tuple[str, ...]) -> str:
    return " or ".join(items)


def _same(found: str, asked: str) -> bool:
    return found == asked.strip()


_Condition = tuple[
    str,
    Callable[[Rule], tuple[str, ...]],
    Callable[[ImageFacts, Origin], str],
    Callable[[str, str], bool],
]

#: In words, what the rule asks, what the image has, and when they agree (casefolded).
_CONDITIONS: tuple[_Condition, ...] = (
    ("Called AE title", lambda r: r.called_ae_titles, lambda _, o: o.called_ae_title, _same),
    ("Calling AE title", lambda r: r.calling_ae_titles, lambda _, o: o.calling_ae_title, _same),
    ("Modality", lambda r: r.modalities, lambda f, _: f.modality, _same),
    ("SOP class", lambda r: r.sop_class_uids, lambda f, _: f.sop_class_uid, _same),
    ("Body part", lambda r: r.body_parts, lambda f, _: f.body_part, _same),
    ("Manufacturer", lambda r: r.manufacturers, lambda f, _: f.manufacturer, str.startswith),
    ("Station name", lambda r: r.station_names, lambda f, _: f.station_name, _same),
    (
        "Series description",
        lambda r: r.series_descriptions,
        lambda f, _: f.series_description,
        str.__contains__,
    ),
)
