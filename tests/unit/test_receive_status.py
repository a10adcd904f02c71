"""What a sender is told when an object is refused."""

from __future__ import annotations

import pytest

from oncopixel_pacs.errors import (
    CannotUnderstand,
    DatasetMismatch,
    IntakeRefused,
    OutOfResources,
    UploadRefused,
)
from oncopixel_pacs.receive.status import refusal


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OutOfResources("The disk is full."), 0xA700),
        (DatasetMismatch("Not the object named."), 0xA900),
        (CannotUnderstand("Not parsable."), 0xC000),
        (KeyError("PatientName"), 0xC001),
    ],
)
def test_each_kind_of_error_has_its_status(error: Exception, status: int) -> None:
    assert refusal(error).status == status


def test_every_refusal_of_the_product_is_in_the_table() -> None:
    # An upload is refused in HTTP's words alone: no DIMSE status could reach its sender.
    for kind in set(IntakeRefused.__subclasses__()) - {UploadRefused}:
        if kind.__module__ == IntakeRefused.__module__:  # a way in may have its own besides
            assert refusal(kind("why")).status != 0xC001


def test_the_comment_says_why_within_the_64_characters_of_an_lo() -> None:
    assert refusal(CannotUnderstand("Short.")).comment == "Short."
    long = refusal(CannotUnderstand("word " * 40)).comment
    assert len(long) <= 64
    assert long.endswith("...")
    assert refusal(CannotUnderstand("a\\b\né")).comment == "a/b ?"


def test_an_unexpected_error_does_not_tell_what_it_quotes() -> None:
    assert "Anna" not in refusal(ValueError("bad name Anna")).comment
