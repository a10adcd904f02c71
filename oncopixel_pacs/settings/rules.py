"""Settings of one model's rule: which images of the site are given to it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from oncopixel_pacs.domain.rules import Rule
from oncopixel_pacs.settings.section import AeTitle, Section, Uid

_Text = Annotated[str, Field(min_length=1, max_length=64)]


class RuleSettings(Section):
    """Which images are given to a model; every list that is not empty must agree."""

    modalities: tuple[_Text, ...] = ()
    """Modality (0008,0060), such as ``MG``."""
    sop_class_uids: tuple[Uid, ...] = ()
    """SOP Class UIDs."""
    body_parts: tuple[_Text, ...] = ()
    """Body Part Examined (0018,0015), such as ``BREAST``."""
    calling_ae_titles: tuple[AeTitle, ...] = ()
    """AE titles of senders."""
    called_ae_titles: tuple[AeTitle, ...] = ()
    """Which of our AE titles was called: ``ae_title`` or one of ``receive.further_ae_titles``."""
    manufacturers: tuple[_Text, ...] = ()
    """How Manufacturer (0008,0070) begins."""
    station_names: tuple[_Text, ...] = ()
    """Station Name (0008,1010)."""
    series_descriptions: tuple[_Text, ...] = ()
    """Words of which Series Description (0008,103E) holds one."""

    def as_rule(self) -> Rule:
        """Give the rule as the domain knows it."""
        return Rule(**dict(self))
