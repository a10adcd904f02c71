"""Storage commitment without a network: what is read, judged and reported."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.receive.commitment import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_OBJECT_INSTANCE,
    PROCESSING_FAILURE,
    Reference,
    Request,
    judge,
    report,
)
from oncopixel_pacs.store.holdings import Holding

KINDS = ("intact", "damaged", "gone", "unreadable", "other class", "unknown")
EXPECTED = {
    "intact": None,
    "damaged": PROCESSING_FAILURE,
    "gone": NO_SUCH_OBJECT_INSTANCE,
    "unreadable": PROCESSING_FAILURE,
    "other class": CLASS_INSTANCE_CONFLICT,
    "unknown": NO_SUCH_OBJECT_INSTANCE,
}


def is_intact(path: str, _sha256: str) -> bool:
    if path == "gone":
        raise FileNotFoundError(path)
    if path == "unreadable":
        raise OSError(5, "Input/output error")
    return path in ("intact", "other class")


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=20))
def test_each_instance_gets_its_verdict_and_stands_once_in_the_report(kinds: list[str]) -> None:
    references = tuple(Reference("1.1", f"1.2.{n}") for n in range(len(kinds)))
    holdings = {
        item.sop_instance_uid: Holding(
            "1.9" if kind == "other class" else "1.1", ((kind, "0" * 64),)
        )
        for item, kind in zip(references, kinds, strict=True)
        if kind != "unknown"
    }
    # A peer may name an instance twice.
    verdicts = judge(Request("1.5", references * 2), lambda _: holdings, is_intact)
    assert [item.failure for item in verdicts] == [EXPECTED[kind] for kind in kinds]
    event_type, information = report("1.5", verdicts)
    committed = information.get("ReferencedSOPSequence") or []
    failed = information.get("FailedSOPSequence") or []
    assert len(committed) == kinds.count("intact")
    assert len(committed) + len(failed) == len(kinds)
    assert event_type == (2 if failed else 1)
    assert information.TransactionUID == "1.5"
    # Type 1C: a sequence is there only with items (PS3.4 table J.3-3).
    assert ("ReferencedSOPSequence" in information) == bool(committed)


def test_a_file_of_other_content_that_is_gone_fails_the_instance() -> None:
    holding = Holding("1.1", (("intact", "0"), ("gone", "1")))
    request = Request("1.5", (Reference("1.1", "1.2"),))
    (verdict,) = judge(request, lambda _: {"1.2": holding}, is_intact)
    assert verdict.failure == NO_SUCH_OBJECT_INSTANCE
