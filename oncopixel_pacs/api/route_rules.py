"""Which role each path asks for: one table, deny by default."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from oncopixel_pacs.domain.access import AccessRole, Area

METRICS_PATH = "/metrics"
LIVE_PATH = "/health/live"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Nobody(Enum):
    """Stands for the role of those who did not say who they are."""

    NOBODY = "nobody"


PUBLIC = Nobody.NOBODY


@dataclass(frozen=True, slots=True)
class Rule:
    """What paths that begin so ask for.

    Attributes
    ----------
    path
        Regular expression that the beginning of the path must match.
    read, write
        Role for methods that change nothing, and for all others; `PUBLIC` for everyone.
    """

    path: str
    read: AccessRole | Nobody
    write: AccessRole | Nobody


_V, _O, _A = AccessRole.VIEWER, AccessRole.OPERATOR, AccessRole.ADMIN
#: First match counts. What no rule names is the last one's: look as viewer, act as operator.
RULES = (
    Rule(rf"{LIVE_PATH}$", PUBLIC, _A),
    Rule(r"/login(/oidc(/callback)?)?$", PUBLIC, PUBLIC),
    Rule(r"/static/", PUBLIC, _A),
    Rule(r"/(logout|password)$", _V, _V),
    # A reader says what a finding is worth; it is kept for monitoring and changes no result.
    Rule(r"(/api/v1)?/jobs/[^/]+/findings/[^/]+/[^/]+$", _V, _V),
    Rule(r"(/api/v1)?/(users|tokens|audit|settings|webhooks)(/|$)", _A, _A),
    Rule(r"(/api/v1)?/destinations/[^/]+/(echo|test)$", _V, _O),
    Rule(r"(/api/v1)?/(peers|destinations|models)(/|$)", _V, _A),
    Rule(r"", _V, _O),
)
#: First match counts; the last is everything else.
_AREAS = (
    (r"/dicom-web(/|$)", Area.DICOMWEB),
    (r"/api/v1/(images|uploads)(/|$)", Area.UPLOAD),
    (r"/(metrics|health/ready)$", Area.METRICS),
    (r"/(api(/|$)|openapi\.json$|docs$)", Area.API),
    (r"", Area.PAGES),
)


def required_role(method: str, path: str) -> AccessRole | Nobody:
    """Role that a request needs."""
    rule = next(item for item in RULES if re.match(item.path, path))
    return rule.read if method in SAFE_METHODS else rule.write


def area_of(path: str) -> Area:
    """Area that a path belongs to."""
    return next(area for pattern, area in _AREAS if re.match(pattern, path))
