"""Accept headers as clients send them, and what they get."""

from __future__ import annotations

import pytest
from fastapi import HTTPException, Request

from oncopixel_pacs.api.dicomweb.media_types import (
    accepted,
    form_of_frames,
    form_of_objects,
    form_of_picture,
    require_json,
)

EXPLICIT, RLE, J2K = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"


def request(*accept: str, query: str = "") -> Request:
    headers = [(b"accept", item.encode()) for item in accept]
    return Request({"type": "http", "headers": headers, "query_string": query.encode()})


@pytest.mark.parametrize(
    ("accept", "multipart", "part", "syntaxes"),
    [
        ("*/*", True, "application/octet-stream", {EXPLICIT}),
        ("", True, "application/octet-stream", {EXPLICIT}),
        # OHIF
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=*",
            True,
            "application/octet-stream",
            {"*"},
        ),
        # dicomweb-client
        ('multipart/related; type="*/*"', True, "application/octet-stream", {EXPLICIT}),
        (
            'multipart/related; type="application/octet-stream"; '
            f"transfer-syntax={EXPLICIT},"
            f' multipart/related; type="application/octet-stream"; transfer-syntax={RLE}',
            True,
            "application/octet-stream",
            {EXPLICIT, RLE},
        ),
        ("application/octet-stream", False, "application/octet-stream", {EXPLICIT}),
        (
            'image/jp2;q=0.9, multipart/related;type="application/octet-stream";q=0.1',
            False,
            "image/jp2",
            {J2K},
        ),
        ('Multipart/Related; Type="image/jp2"', True, "image/jp2", {J2K}),
    ],
)
def test_frames(accept: str, multipart: bool, part: str, syntaxes: set[str]) -> None:
    form = form_of_frames(request(accept), J2K, single=True)
    assert (form.multipart, form.part, set(form.transfer_syntaxes)) == (multipart, part, syntaxes)


def test_several_frames_are_never_bare() -> None:
    with pytest.raises(HTTPException) as refused:
        form_of_frames(request("application/octet-stream"), EXPLICIT, single=False)
    assert refused.value.status_code == 406


def test_a_syntax_that_is_not_the_stored_one_is_no_match_for_its_media_type() -> None:
    other = 'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.91'
    with pytest.raises(HTTPException):
        form_of_frames(request(other), J2K, single=True)


@pytest.mark.parametrize(
    ("accept", "multipart", "taken"),
    [
        ("application/dicom", False, {EXPLICIT}),
        ("application/dicom; transfer-syntax=*", False, {"*"}),
        ('multipart/related; type="application/dicom"', True, {EXPLICIT}),
        ("application/dicom;q=0.2, multipart/related", True, {EXPLICIT}),
    ],
)
def test_objects(accept: str, multipart: bool, taken: set[str]) -> None:
    form = form_of_objects(request(accept), single=True)
    assert form.multipart is multipart
    assert set(form.transfer_syntaxes) == taken


def test_pictures_in_the_order_of_preference() -> None:
    offered = ("image/jpeg", "image/png")
    assert form_of_picture(request("image/*"), offered) == "image/jpeg"
    assert form_of_picture(request("image/jpeg;q=0.1, image/png"), offered) == "image/png"
    assert form_of_picture(request("image/jpeg", query="accept=image/png"), offered) == "image/png"


@pytest.mark.parametrize("accept", ["application/dicom+json", "application/json", "*/*", ""])
def test_json_is_given_to_who_takes_it(accept: str) -> None:
    require_json(request(accept))


@pytest.mark.parametrize("accept", ["application/dicom+xml", "text/html", "application/json;q=0"])
def test_json_is_not_forced_on_anyone(accept: str) -> None:
    with pytest.raises(HTTPException):
        require_json(request(accept))


def test_odd_headers_do_no_harm() -> None:
    for text in (";;;", ",,,", 'a/b; type="', "a/b;q=high", "\xff/\xff", "a" * 10_000):
        assert accepted(request(text))
