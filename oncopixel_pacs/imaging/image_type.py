"""What Image Type (0008,0008) says of a mammogram that is no ordinary 2D view.

Value 3 and what follows it, PS3.3 C.8.11.7.1.4, Tables C.8-74a to C.8-74e. Units put the terms at
other places than the standard does, so each counts wherever it stands.
"""

from __future__ import annotations

from collections.abc import Collection

#: A localizer, a stereotactic pair, or needle, cavity and marker of a biopsy.
_BIOPSY = ("STEREO", "PREFIRE", "POSTFIRE", "POSTBIOPSY", "POSTMARKER", "TOMO_SCOUT")
_PROJECTION = frozenset({"TOMO_PROJ"})
#: The first three are the standard's; units also write the others.
_COMBINED = frozenset({"ADDITION", "SUBTRACTION", "HIGH_ENERGY", "SUBTRACTED", "RECOMBINED"})
_CONTRAST = frozenset({"PRE_CONTRAST", "POST_CONTRAST"})
_LOW_ENERGY = "LOW_ENERGY"


def guides_biopsy(terms: Collection[str]) -> bool:
    """Whether an image was taken to guide a biopsy, or to see what one left behind.

    Parameters
    ----------
    terms
        Values of Image Type, in capitals.
    """
    return any(term.startswith(_BIOPSY) for term in terms)


def is_projection(terms: Collection[str]) -> bool:
    """Whether an image is one of the projections that a tomosynthesis is computed from."""
    return not _PROJECTION.isdisjoint(terms)


def shows_contrast(terms: Collection[str], *, agent: bool = False) -> bool:
    """Whether an image shows contrast agent rather than the breast as X-rays usually do.

    The low-energy image of a contrast enhanced mammography lies below the K-edge of iodine and
    looks as a mammogram without contrast agent does. Everything else of such an examination,
    the recombined image above all, does not; nor does a galactography.

    Parameters
    ----------
    terms
        Values of Image Type, in capitals.
    agent
        Whether the header names an agent: units that leave the terms out do.
    """
    if not _COMBINED.isdisjoint(terms):
        return True
    given = agent or not _CONTRAST.isdisjoint(terms)
    return given and _LOW_ENERGY not in terms
