"""Derived UIDs: the same parts, the same UID, wherever it is built."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.domain.uids import derive_uid

PART = st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"]))
PARTS = st.lists(PART, min_size=1, max_size=4)


def test_the_uid_of_a_result_never_changes() -> None:
    """A change here would send every result a second time."""
    assert derive_uid("seg", "1.2.3") == "2.25.309296923582367211297403035915986991768"


@given(PARTS)
def test_a_derived_uid_is_valid_and_holds_a_version_8_uuid(parts: list[str]) -> None:
    uid = derive_uid(*parts)
    root, _, number = uid.rpartition(".")
    assert root == "2.25"
    assert len(uid) <= 44
    assert number == str(int(number))
    made = uuid.UUID(int=int(number))
    assert (made.version, made.variant) == (8, uuid.RFC_4122)


@given(PARTS, PARTS)
def test_other_parts_give_another_uid(one: list[str], other: list[str]) -> None:
    assert (derive_uid(*one) == derive_uid(*other)) == (one == other)


def test_parts_do_not_run_together() -> None:
    assert derive_uid("1.2", "3") != derive_uid("1.23")
