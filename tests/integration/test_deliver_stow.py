"""What a DICOMweb archive says of each object, and what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from answering_server import http_server
from dimse_builder import free_port, mammogram, write

from oncopixel_pacs.deliver import Outcome, OutgoingObject, echo, send
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import StowDestination, TlsSettings


def place(url: str, **login: Any) -> StowDestination:
    return StowDestination(type="stow", name="web", url=url, **login)


def an_object(folder: Path) -> OutgoingObject:
    image = mammogram()
    path = write(image, folder / "a.dcm")
    return OutgoingObject(image.SOPInstanceUID, image.SOPClassUID, path)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    with http_server({"/studies": (status, body), "/studies?limit=1": (status, body)}) as url:
        yield url


def deliver(item: OutgoingObject, url: str) -> Outcome:
    (outcome,) = send([item], place(url), calling_ae_title="ONCOPIXEL", timeout_seconds=10)
    return outcome


def told(sequence: str, tag: str, reason: int, uid: str = str(mammogram().SOPInstanceUID)) -> bytes:
    item = {"00081155": {"vr": "UI", "Value": [uid]}, tag: {"vr": "US", "Value": [reason]}}
    return json.dumps({sequence: {"vr": "SQ", "Value": [item]}}).encode()


def failed(reason: int) -> bytes:
    return told("00081198", "00081197", reason)


@pytest.mark.parametrize(
    ("code", "body", "accepted", "permanent", "status"),
    [
        (200, b"{}", True, False, "HTTP 200"),
        (200, b"<xml/>", True, False, "HTTP 200"),
        (202, told("00081199", "00081196", 0xB000), True, False, "HTTP 202 0xB000"),
        (202, failed(0xA700), False, False, "HTTP 202 0xA700"),
        (409, failed(0xA900), False, True, "HTTP 409 0xA900"),
        # The answer to an earlier attempt was lost.
        (409, failed(0x0111), True, False, "HTTP 409 0x0111"),
        (409, failed(0xC122), False, True, "HTTP 409 0xC122"),
        (409, failed(0x0110), False, False, "HTTP 409 0x0110"),
        (409, b"", False, True, "HTTP 409"),
        (400, b"", False, True, "HTTP 400"),
        (415, b"", False, True, "HTTP 415"),
        (401, b"", False, False, "HTTP 401"),
        (503, b"", False, False, "HTTP 503"),
        (302, b"", False, True, "HTTP 302"),
    ],
)
def test_the_answer_decides(
    tmp_path: Path, code: int, body: bytes, accepted: bool, permanent: bool, status: str
) -> None:
    with answering(code, body) as url:
        outcome = deliver(an_object(tmp_path), url)
    assert (outcome.accepted, outcome.permanent, outcome.status) == (accepted, permanent, status)
    assert bool(outcome.error) == (not accepted or "0x" in status)


def test_the_fault_of_another_object_is_not_ours(tmp_path: Path) -> None:
    with answering(202, told("00081198", "00081197", 0xA900, "1.2.3")) as url:
        assert deliver(an_object(tmp_path), url).accepted


def test_an_archive_that_is_not_there_is_a_passing_failure(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(DeliveryFailed, match="nothing answers there") as caught:
        deliver(an_object(tmp_path), url)
    assert not caught.value.permanent


@pytest.mark.parametrize(("code", "sentence"), [(401, "login"), (404, "DICOMweb root")])
def test_echo_says_what_to_check(code: int, sentence: str) -> None:
    with (
        answering(code, b"") as url,
        pytest.raises(DeliveryFailed, match=sentence),
    ):
        echo(place(url), calling_ae_title="ONCOPIXEL", timeout_seconds=10)


def test_a_missing_authority_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    tls = TlsSettings(ca_file=tmp_path / "absent.pem")
    with pytest.raises(DeliveryFailed, match=r"absent\.pem"):
        list(
            send(
                [an_object(tmp_path)],
                place("https://127.0.0.1:9"),
                calling_ae_title="ONCOPIXEL",
                timeout_seconds=10,
                tls=tls,
            )
        )


def test_a_file_that_is_gone_is_no_refusal(tmp_path: Path) -> None:
    item = an_object(tmp_path)
    item.path.unlink()
    with answering(200, b"{}") as url:
        outcome = deliver(item, url)
    assert (outcome.accepted, outcome.permanent) == (False, False)
