"""Odd files of many makers: each is taken or refused, and whatever is held can be asked for."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from conftest import Store
from stow_builder import body_of, failures, post, taking

DATA = os.environ.get("ONCOPIXEL_DATA")
FOLDER = Path(DATA or "") / "nasty_dicom"
#: Of an answer about an object that is held: given, gone, or in no form that can be given.
FINE = {200, 404, 406}


@pytest.mark.skipif(DATA is None or not FOLDER.is_dir(), reason="the odd files are not here")
def test_odd_files_are_taken_or_refused_and_harm_nothing(store: Store) -> None:
    files = sorted(item for item in FOLDER.rglob("*") if item.is_file())
    told: Counter[int] = Counter()
    with taking(store) as client:
        for path in files:
            answer = post(client, body_of([path.read_bytes()]))
            told[answer.status_code] += 1
            assert answer.status_code in {200, 409}, path.name
            assert (answer.status_code == 409) is bool(failures(answer)), path.name
        studies = [item["0020000D"]["Value"][0] for item in client.get("/studies").json()]
        for study in studies:
            found = client.get(f"/studies/{study}/metadata")
            assert found.status_code == 200
            for item in found.json():
                series, uid = item["0020000E"]["Value"][0], item["00080018"]["Value"][0]
                address = f"/studies/{study}/series/{series}/instances/{uid}"
                for below in ("", "/metadata", "/frames/1", "/rendered", "/bulkdata/7FE00010"):
                    answer = client.get(address + below)
                    assert answer.status_code in FINE, (uid, below)
        assert client.get("/studies?includefield=all").status_code == 200
        assert client.get("/series").status_code == 200
        assert client.get("/instances?includefield=all").status_code == 200
    assert told[200] > 10
    assert list(store.files.incoming.iterdir()) == []
