"""What ``oncopixel serve`` says when it has started."""

from __future__ import annotations

from typing import Any

import pytest

from oncopixel_pacs.cli.serve import status_address
from oncopixel_pacs.settings import Settings


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "http://127.0.0.1:8080/"),
        ({"http_host": "::1"}, "http://[::1]:8080/"),
        ({"api": {"certificate": "a.pem", "key": "a.key"}}, "https://127.0.0.1:8080/"),
    ],
)
def test_the_address_of_the_pages_is_one_for_a_browser(given: dict[str, Any], address: str) -> None:
    assert status_address(Settings.model_validate(given), 8080) == address
