"""What the benchmark concludes from its measurements, and what it sends."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.filereader import read_dataset

from benchmarks.ingest import Measurement, main, missed_goals, ratio, table
from benchmarks.store_stream import LOADS, StoreStream, sop_instance_uid
from oncopixel_pacs.digests import IN_USE, algorithm_of


def measured(receiver: str, speed: float, repetition: int = 0, peak: float = 100) -> Measurement:
    return Measurement(receiver, "27 MB", 4, repetition, speed, 1.0, 1.0, peak)


def test_ratios_are_taken_within_a_repetition_and_against_the_faster_storescp() -> None:
    found = [
        *(measured("OncoPixel", speed, n) for n, speed in enumerate((10, 20, 90))),
        *(measured("Orthanc", speed, n) for n, speed in enumerate((5, 5, 10))),
        *(measured("storescp", speed, n) for n, speed in enumerate((20, 10, 10))),
        *(measured("storescp --fork", speed, n) for n, speed in enumerate((10, 40, 100))),
    ]
    assert ratio(found, "27 MB", 4, "Orthanc") == 4
    assert ratio(found, "27 MB", 4, "storescp") == 0.5
    assert ratio(found, "130 KB", 4, "Orthanc") is None
    assert missed_goals(found) == ["27 MB, 4 associations: 0.50 × storescp < 0.6"]
    assert "| 27 MB | 4 | OncoPixel | 20.0 | 1 | 1.00 | 100 | 4.00 | 0.50 |" in table(found)


def test_too_much_memory_is_a_missed_goal() -> None:
    found = [measured("OncoPixel", 10, peak=260), measured("Orthanc", 1)]
    assert missed_goals(found) == ["peak memory 260 MB, 250 MB are allowed"]


def test_each_object_that_is_sent_is_another_one() -> None:
    stream = StoreStream(LOADS["130 KB"])
    size = stream.dataset_bytes
    stream.number(7)
    assert stream.pdus.count(sop_instance_uid(7).encode()) == 2  # command and data set
    sent = bytes(stream.pdus)[-size - 12 * 2 :]
    digest = stream.digest(7)
    assert digest != stream.digest(8)
    body = sent[sent.index(b"\x08\x00\x05\x00") :]
    image = read_dataset(BytesIO(body[:60_000]), False, True, stop_when=lambda t, *_: t > 0x30_0000)
    assert image.SOPInstanceUID == sop_instance_uid(7)
    assert algorithm_of(digest) == IN_USE


def test_a_load_that_is_none_is_said_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--loads", "27 MB,130kb"])
    assert "no load 130kb; choose of 27 MB, 130 KB" in capsys.readouterr().err
