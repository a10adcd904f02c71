"""Keeps what the tests build, so that the golden checklist can be held against all of it.

`conftest` installs it before anything else imports the product. Of objects that are alike but for
their values, the first is kept: same class, attributes, codes and enumerated values.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import tempfile
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


class Collection:
    """Result sets by the test that built them, each reduced to what was not seen before.

    Attributes
    ----------
    unequal
        Objects that were not the same bytes when built a second time.
    """

    def __init__(self) -> None:
        self.sets: list[ResultSet] = []
        self.unequal: list[str] = []
        self._uids: set[str] = set()
        self._seen: set[int] = set()
        self._folder: Path | None = None
        self._ignores = False

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

    def close(self) -> None:
        """Forget the files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

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
                        self.unequal.append(f"{_test()}: {one.kind}")
            return made

        return build

    def _keep(self, part10s: Sequence[bytes], sources: Sequence[Path]) -> bool:
        new: list[bytes] = []
        if self._ignores:
            return False
        for part10 in part10s:
            dataset = dcmread(io.BytesIO(part10), stop_before_pixels=True)
            self._uids.add(str(dataset.SOPInstanceUID))
            with warnings.catch_warnings():
                # A text of full length in UTF-8 may be one byte short of even; its padding is
                # counted, and warned of.
                warnings.simplefilter("ignore")
                shape = hash(_shape(dataset))
            if shape not in self._seen:
                self._seen.add(shape)
                new.append(part10)
        # A test may have no image behind its results: nothing to hold them against.
        new = new if all(map(is_dicom, sources)) else []
        if new:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="golden-"))
            folder = self._folder / str(len(self.sets))
            folder.mkdir()
            self.sets.append(
                ResultSet(
                    _test(),
                    [_write(folder / f"object-{n}.dcm", item) for n, item in enumerate(new)],
                    [
                        _write(folder / f"source-{n}.dcm", path.read_bytes())
                        for n, path in enumerate(sources)
                    ],
                    self._uids,
                )
            )
        return bool(new)


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


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _test() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "?").rpartition(" ")[0].rpartition("/")[2]


COLLECTION = Collection()
