"""The golden checklist over everything that the tests of this run built.

What they built is dealt out to shards, so that these tests, too, can run side by side.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ObjectKind, Reason, SegmentationForm
from oncopixel_pacs.report.external_validation import TOOLS, find_validator, validate_with_tools
from tests.golden_checklist import CHECKLIST, TEMPLATES, ResultSet, templates
from tests.golden_collection import COLLECTION
from tests.pixelmed import why_unavailable
from tests.report_builders import FOUR_VIEWS, Case, case, without

RIGHT_CC, LEFT_CC, RIGHT_MLO, LEFT_MLO = FOUR_VIEWS
EVERYTHING = tuple(kind for kind in ObjectKind if kind is not ObjectKind.REJECTION)
FORMS = tuple(SegmentationForm)
missing = [tool for tool in TOOLS if find_validator(tool) is None]
pytestmark = [
    pytest.mark.golden,
    pytest.mark.dcmtk,
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
]
WITHOUT_TEMPLATES = {name: check for name, check in CHECKLIST.items() if check is not templates}
SHARDS = 6


def findings(folder: Path) -> Case:
    return case(folder, {RIGHT_CC: 1, RIGHT_MLO: 1, LEFT_CC: 2, LEFT_MLO: 0})


def nothing_found(folder: Path) -> Case:
    return case(folder, dict.fromkeys(FOUR_VIEWS, 0))


def partly_analysed(folder: Path) -> Case:
    return without(case(folder, {RIGHT_CC: 1, LEFT_CC: 0}), "L CC", Reason.PARTIAL_VIEW)


def not_analysed(folder: Path) -> Case:
    study = case(folder, {RIGHT_CC: 0, LEFT_CC: 0})
    return without(without(study, "L CC", Reason.PARTIAL_VIEW), "R CC", Reason.NO_BREAST)


FORMS_OF_TRUTH = [findings, nothing_found, partly_analysed, not_analysed]


# Sources may be as odd as they like; of the results, validators say more than the library.
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("shard", range(SHARDS))
def test_everything_that_the_tests_built(shard: int) -> None:
    assert COLLECTION.sets, "nothing was built in this run"
    problems = list(_problems(COLLECTION.sets[shard::SHARDS]))
    assert problems == [], "\n".join(problems)


def test_what_is_built_twice_is_the_same() -> None:
    assert COLLECTION.sets, "nothing was built in this run"
    assert COLLECTION.unequal == []


@pytest.mark.slow
@pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable())
@pytest.mark.parametrize("half", [0, 1])
def test_every_kind_of_content_that_the_tests_built_follows_its_template(
    half: int, tmp_path: Path
) -> None:
    """PixelMed takes seconds for a document, so the fewest that hold every kind of item."""
    chosen = _covering(item for results in COLLECTION.sets for item in results.objects)
    assert len(chosen) > 1, "no documents were built in this run"
    paths = [shutil.copy(path, tmp_path / f"{n}.dcm") for n, path in enumerate(chosen[half::2])]
    assert list(templates(ResultSet("half", paths, ()))) == []


@pytest.fixture(scope="module", params=FORMS_OF_TRUTH, ids=lambda form: form.__name__)
def reference(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ResultSet:
    """Every kind in every form, of clean sources."""
    sources, once, twice = (tmp_path_factory.mktemp(name) for name in ("in", "once", "twice"))
    study: Case = request.param(sources)
    with COLLECTION.ignoring():  # the shards must not grow while they are looked at
        objects = study.save_objects(once, EVERYTHING, FORMS)
        again = study.save_objects(twice, EVERYTHING, FORMS)
    assert [path.read_bytes() for path in objects] == [path.read_bytes() for path in again]
    return ResultSet(request.param.__name__, objects, list(study.paths.values()))


@pytest.mark.parametrize("point", WITHOUT_TEMPLATES)
def test_the_reference_set(reference: ResultSet, point: str) -> None:
    assert list(WITHOUT_TEMPLATES[point](reference)) == []


def test_clean_sources_give_results_without_any_warning(reference: ResultSet) -> None:
    assert validate_with_tools(reference.objects, reference.sources).warnings == ()


def _problems(sets: list[ResultSet]) -> Iterator[str]:
    # Most of the time goes to validators in processes of their own.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(lambda results: list(_problems_of(results)), sets):
            yield from found


def _problems_of(results: ResultSet) -> Iterator[str]:
    for point, check in WITHOUT_TEMPLATES.items():
        try:
            yield from (f"{results.name}: {point}: {line}" for line in check(results))
        except Exception as exc:  # which result set it was is what one needs to know
            yield f"{results.name}: {point}: {exc!r}"


def _covering(paths: Iterator[Path]) -> list[Path]:
    """Choose documents that together have every kind of content item; a greedy cover."""
    kinds = {
        path: _kinds(dcmread(path)) for path in paths if dcmread(path).SOPClassUID in TEMPLATES
    }
    chosen: list[Path] = []
    covered: set[tuple[str, ...]] = set()
    while best := max(kinds, key=lambda path: len(kinds[path] - covered), default=None):
        if not kinds[best] - covered:
            break
        covered |= kinds.pop(best)
        chosen.append(best)
    return chosen


def _kinds(document: Dataset, above: str = "") -> set[tuple[str, ...]]:
    """List what occurs: concept below concept, with relation, type and coded value."""
    found = {("of", str(document.SOPClassUID))} if "SOPClassUID" in document else set()
    for item in document.get("ContentSequence") or ():
        name, value = _code(item, "ConceptNameCodeSequence"), _code(item, "ConceptCodeSequence")
        found.add((above, item.RelationshipType, item.get("ValueType", ""), name, value))
        found |= _kinds(item, name)
    return found


def _code(item: Dataset, keyword: str) -> str:
    codes = item.get(keyword) or [Dataset()]
    return str(codes[0].get("CodeValue", ""))
