"""Digests of received data sets."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.digests import (
    ALGORITHMS,
    IN_USE,
    Algorithm,
    DatasetDigest,
    algorithm_of,
    dataset_digest,
    hex_digits,
)

#: From the test vectors of the BLAKE3 team, and of FIPS 180-4.
BLAKE3_EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
SHA256_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_digest_names_its_algorithm_unless_it_is_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"meta")
    assert dataset_digest(path, 4) == DatasetDigest().text() == f"blake3:{BLAKE3_EMPTY}"
    assert dataset_digest(path, 4, "sha256") == SHA256_EMPTY


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_stored_digest_says_how_to_make_it_again(tmp_path: Path, algorithm: Algorithm) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"metadata set")
    digest = dataset_digest(path, 4, algorithm)
    assert algorithm_of(digest) == algorithm
    assert hex_digits(digest) == digest[-64:]
    assert digest != dataset_digest(path, 0, algorithm)


@given(pieces=st.lists(st.binary(max_size=3000), max_size=8))
def test_pieces_have_the_digest_of_the_whole(pieces: list[bytes]) -> None:
    digest = DatasetDigest()
    for piece in pieces:
        digest.update(memoryview(piece))
    assert digest.text() == DatasetDigest(b"".join(pieces)).text()
    assert algorithm_of(digest.text()) == IN_USE
    assert hex_digits(digest.text()) != hashlib.sha256(b"".join(pieces)).hexdigest()
