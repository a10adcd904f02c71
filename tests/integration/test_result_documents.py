"""The page with trees and codes of the results says what is really built."""

from __future__ import annotations

import shutil

import pytest

from tests.document_results import PAGE, page


@pytest.mark.dcmtk
@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="not installed: dsrdump")
def test_the_page_is_what_the_product_builds() -> None:
    made = page()
    assert "Probability of cancer" in made and "Rendering Intent" in made
    assert PAGE.read_text(encoding="utf-8") == made, "run: python -m tests.document_results"
