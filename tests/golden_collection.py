"""Keeps what the tests build, so that the golden checklist can be held against all of it.

`conftest` installs it before anything else imports the product. Of objects that are alike but for
their values, the first is kept: same class, attributes, codes and enumerated values.

Tests may run in several processes, and the checklist in a later one: what is kept lies in a
folder, which they know by an environment variable.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom

from oncopixel_pacs.report import result_objects
from oncopixel_pacs.report.built_object import BuiltObject
from tests.golden_checklist import ResultSet

#: Names the folder to every process of a test run.
VARIABLE = "GOLDEN_COLLECTION"


class Collection:
    """Result sets by the test that built them, each reduced to what was not seen before."""

    def __init__(self) -> None:
        self._ignores = False
        self._count = 0
        self._seen: set[bytes] = set()

    @property
    def sets(self) -> list[ResultSet]:
        """What every process kept so far, in an order that depends on nothing else."""
        elsewhere = frozenset(self._lines("uids"))
        return [
            ResultSet(
                (folder / "test").read_text(encoding="utf-8"),
                sorted(folder.glob("object-*.dcm")),
                sorted(folder.glob("source-*.dcm")),
                elsewhere,
            )
            for folder in sorted(self._part("sets").iterdir())
        ]

    @property
    def unequal(self) -> list[str]:
        """Objects that were not the same bytes when built a second time."""
        return self._lines("unequal")

    def install(self) -> None:
        """See everything that the product builds in this process."""
        for name in ("build_result_objects", "build_retraction"):
            original = getattr(result_objects, name)
            setattr(result_objects, name, functools.wraps(original)(self._watching(original)))

    def add(self, objects: Iterable[Path], sources: Iterable[Path]) -> None:
        """Keep results that another process built."""
        self._keep([path.read_bytes() for path in objects], list(sources))

    @contextlib.contextmanager
    def ignoring(self) -> Iterator[None]:
        """Keep nothing: of arbitrary bytes in text, validators and libraries say what they like."""
        self._ignores = True
        yield
        self._ignores = False

    def _watching(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def build(result: Any, paths: Mapping[str, Path], *args: Any, **kwargs: Any) -> Any:
            made = original(result, paths, *args, **kwargs)
            objects = [made] if isinstance(made, BuiltObject) else list(made)
            images = [paths[item.facts.sop_instance_uid] for item in result.images]
            if self._keep([item.part10 for item in objects], images):
                again = original(result, paths, *args, **kwargs)
                twice = [again] if isinstance(again, BuiltObject) else list(again)
                for one, other in zip(objects, twice, strict=True):
                    if one.part10 != other.part10:
                        self._say("unequal", f"{_test()}: {one.kind}")
            return made

        return build

    def _keep(self, part10s: Sequence[bytes], sources: Sequence[Path]) -> bool:
        new: list[bytes] = []
        if self._ignores:
            return False
        for part10 in part10s:
            # Many tests build the same objects; the same bytes have the same UID and shape.
            whole = hashlib.sha256(part10).digest()
            if whole in self._seen:
                continue
            self._seen.add(whole)
            dataset = dcmread(io.BytesIO(part10), stop_before_pixels=True)
            self._say("uids", str(dataset.SOPInstanceUID))
            with warnings.catch_warnings():
                # A text of full length in UTF-8 may be one byte short of even; its padding is
                # counted, and warned of.
                warnings.simplefilter("ignore")
                shape = _digest(_shape(dataset))
            if self._is_first(shape):
                new.append(part10)
        # A test may have no image behind its results: nothing to hold them against.
        new = new if all(map(is_dicom, sources)) else []
        if new:
            self._count += 1
            folder = self._part("sets") / f"{_process()}-{self._count:05}"
            folder.mkdir()
            for n, item in enumerate(new):
                (folder / f"object-{n:03}.dcm").write_bytes(item)
            for n, path in enumerate(sources):
                (folder / f"source-{n:03}.dcm").write_bytes(path.read_bytes())
            (folder / "test").write_text(_test(), encoding="utf-8")
        return bool(new)

    def _is_first(self, shape: str) -> bool:
        """Whether no process saw this shape before; from now on, this one did."""
        try:
            (self._part("shapes") / shape).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _say(self, part: str, line: str) -> None:
        with (self._part(part) / _process()).open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")

    def _lines(self, part: str) -> list[str]:
        said = sorted(self._part(part).iterdir())
        return [line for path in said for line in path.read_text(encoding="utf-8").splitlines()]

    def _part(self, name: str) -> Path:
        folder = Path(os.environ[VARIABLE]) / name
        folder.mkdir(exist_ok=True)
        return folder


def _shape(dataset: Dataset) -> frozenset[tuple[Any, ...]]:
    parts: set[tuple[Any, ...]] = set()
    for element in dataset:
        if element.VR == "SQ":
            parts.add((element.tag, frozenset(_shape(item) for item in element.value)))
        elif element.VR in ("CS", "SH") and element.keyword not in ("StudyID", "AccessionNumber"):
            parts.add((element.tag, str(element.value)))
        else:
            parts.add((element.tag, element.VR, bool(element.value)))
    return frozenset(parts)


def _digest(shape: frozenset[tuple[Any, ...]]) -> str:
    """Name of a shape in every process, unlike its hash."""
    return hashlib.sha256(_text(shape).encode()).hexdigest()


def _text(part: Any) -> str:
    if isinstance(part, frozenset):
        return "{" + ",".join(sorted(map(_text, part))) + "}"
    if isinstance(part, tuple):
        return "(" + ",".join(map(_text, part)) + ")"
    return repr(part)


def _process() -> str:
    return f"{os.environ.get('PYTEST_XDIST_WORKER', 'only')}-{os.getpid()}"


def _test() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "?").rpartition(" ")[0].rpartition("/")[2]


COLLECTION = Collection()
