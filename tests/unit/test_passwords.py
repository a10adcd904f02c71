"""Passwords are hashed with Argon2id, and only the right one fits."""

from __future__ import annotations

import pytest

from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.passwords import LEAST_LENGTH, hash_password, is_password

PASSWORD = "four words that rhyme"  # noqa: S105


def test_only_the_right_password_fits_and_its_hash_does_not_hold_it() -> None:
    hashed = hash_password(PASSWORD)
    assert hashed.startswith("$argon2id$")
    assert PASSWORD not in hashed
    assert is_password(PASSWORD, hashed)
    assert not is_password(PASSWORD + " ", hashed)
    assert not is_password(PASSWORD, None)
    assert not is_password(PASSWORD, "no hash at all")


@pytest.mark.parametrize("length", [0, LEAST_LENGTH - 1, 257])
def test_a_short_or_endless_password_is_refused(length: int) -> None:
    with pytest.raises(ConfigurationError, match="15 to 256"):
        hash_password("x" * length)
