"""The exception tree. Every message is one sentence: what is wrong and what to do.

::

    OncoPixelError
    ├── ConfigurationError      a setting, file or port that keeps the server from starting
    │   └── OlderSchema         a database that the server of this version has to upgrade first
    ├── IntakeRefused           an object that was not accepted; nothing of it is kept
    │   ├── OutOfResources      disk or database cannot take it now; send it again later
    │   ├── DatasetMismatch     the data set contradicts its command or its SOP class
    │   ├── CannotUnderstand    the data set cannot be parsed
    │   └── UploadRefused       an upload that is not taken, with the kind of its fault
    ├── UnreadableImage         a stored image that cannot be decoded or holds no breast
    ├── ModelRefused            a bundle that is not loaded: unpinned, unsafe or inconsistent
    ├── AnalysisFailed          the models gave no usable answer
    │   ├── DeviceLost          the device that they run on gave up
    │   └── ModelsNotLoaded     their process did not get as far as to look at a study
    ├── ResultRejected          a result object that did not pass the gate before sending
    ├── DeliveryFailed          a destination did not take an object
    ├── PullFailed              a source did not give what was asked of it
    │   └── ObjectNotGiven      it answers, but one object it did not give
    └── NotFound                an id that the catalogue does not know
"""

from __future__ import annotations

from oncopixel_pacs.domain import Reason
from oncopixel_pacs.domain.uploads import RefusalKind


class OncoPixelError(Exception):
    """Base of every error that this product raises on purpose."""

    @property
    def for_log(self) -> str:
        """What the log may hold of it: nothing that quotes a header or a validator."""
        return str(self)


class ConfigurationError(OncoPixelError):
    """A setting, file or port that keeps the server from starting."""


class OlderSchema(ConfigurationError):
    """A database that the server of this version brings up to date when it starts."""


class IntakeRefused(OncoPixelError):
    """An object that was not accepted; nothing of it is kept."""


class OutOfResources(IntakeRefused):
    """Disk, database, or processes of this machine cannot do it now; asking again may help."""


class DatasetMismatch(IntakeRefused):
    """The data set contradicts its command set or its SOP class."""


class CannotUnderstand(IntakeRefused):
    """The data set cannot be parsed."""


class UploadRefused(IntakeRefused):
    """An upload that is not taken; nothing of it is kept."""

    def __init__(self, kind: RefusalKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class UnreadableImage(OncoPixelError):
    """A stored image that cannot be decoded, or in which no breast was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.sentence} {detail}".strip())
        self.reason = reason
        self.detail = detail


class ModelRefused(OncoPixelError):
    """A bundle that is not loaded: not pinned, not safe, or not what its metadata says."""


class AnalysisFailed(OncoPixelError):
    """The models gave no usable answer. `permanent` says that trying again is no use."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class DeviceLost(AnalysisFailed):
    """The device that the models run on gave up; nothing runs on it in the same process."""


class ModelsNotLoaded(AnalysisFailed):
    """The process of the models ended while it loaded them: no fault of any study."""


class ResultRejected(OncoPixelError):
    """A result object that did not pass the gate before sending.

    Its sentence repeats what the rules and validators say, and those quote values.
    """

    @property
    def for_log(self) -> str:
        """Say where the sentence stands."""
        return "A result object was not passed; its job says why."


class DeliveryFailed(OncoPixelError):
    """A destination did not take an object. `permanent` says that re-sending is no use."""

    def __init__(self, message: str, *, permanent: bool, status: str = "") -> None:
        super().__init__(message)
        self.permanent = permanent
        self.status = status


class PullFailed(OncoPixelError):
    """A source did not give what was asked of it. `permanent`: asking again is no use."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class ObjectNotGiven(PullFailed):
    """A source that answers did not give one object; it may well give the others."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=False)


class NotFound(OncoPixelError):
    """An id that the catalogue does not know."""
