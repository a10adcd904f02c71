"""What an admin is told of a bucket that is away, misspelled, or does not let us."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from answering_server import http_server
from api_builders import make_parts, serving
from bucket_builder import Bucket, bucket_server
from conftest import Store
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.settings import BucketSettings
from oncopixel_pacs.store.bucket import BucketFileStore
from oncopixel_pacs.store.files import StorageAway

PATH = "instances/00/held.dcm"


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with bucket_server() as running_server:
        yield running_server


def changed(bucket: Bucket, **values: object) -> BucketSettings:
    return bucket.settings.model_copy(update=values)


def test_a_bucket_that_is_there_passes_and_keeps_nothing_of_it(
    bucket: Bucket, tmp_path: Path
) -> None:
    files = BucketFileStore(tmp_path / "host", bucket.settings)
    names = bucket.names  # the stand-in for S3 is one for all tests of a process
    files.check()
    files.check(writes=True)
    assert bucket.names == names


def test_a_misspelled_bucket_is_told_from_a_missing_file(bucket: Bucket, tmp_path: Path) -> None:
    files = BucketFileStore(tmp_path / "host", changed(bucket, name="hopsital"))
    for ask in (
        files.check,
        lambda: files.check(writes=True),
        lambda: files.absolute(PATH),
        lambda: files.remove([PATH]),
        lambda: files.write(b"bytes", "results", "1.2.3"),
    ):
        with pytest.raises(StorageAway, match="has no bucket of that name"):
            ask()


def test_keys_that_do_not_fit_are_named(bucket: Bucket, tmp_path: Path) -> None:
    denied = b"<Error><Code>AccessDenied</Code></Error>"
    with http_server({"/hospital/oncopixel/check": (403, denied)}) as url:
        files = BucketFileStore(tmp_path / "host", changed(bucket, endpoint=url))
        with pytest.raises(StorageAway, match=r"check the keys of \[bucket\]"):
            files.check()


def test_a_bucket_that_is_away_makes_a_server_unready_and_doctor_says_so(
    store: Store, bucket: Bucket, tmp_path: Path
) -> None:
    files = BucketFileStore(tmp_path / "host", bucket.settings)
    config = tmp_path / "oncopixel.toml"
    config.write_text(
        f"""data_dir = {json.dumps(str(tmp_path / "host"))}
dimse_port = 0
http_port = 0
[bucket]
name = "hospital"
prefix = "oncopixel"
endpoint = "{bucket.settings.endpoint}"
access_key_id = "key"
secret_access_key = "secret"
timeout_seconds = 2.0
""",
        encoding="utf-8",
    )

    def doctor() -> dict[str, object]:
        told = CliRunner().invoke(app, ["doctor", "--config", str(config), "--json"]).stdout
        return next(item for item in json.loads(told)["checks"] if item["name"] == "bucket")

    parts = make_parts(store, files=files)
    with_bucket = parts.settings.model_copy(update={"bucket": bucket.settings})
    with serving(make_parts(store, files=files, settings=with_bucket)) as client:
        assert client.get("/health/ready").status_code == 200
        assert doctor()["ok"]
        bucket.server.stop()
        try:
            ready = client.get("/health/ready")
            assert ready.status_code == 503
            assert "The object storage does not answer as it should" in ready.json()["detail"]
            told = doctor()
            assert not told["ok"]
            assert "check [bucket] and its server" in str(told["detail"])
        finally:
            bucket.server.start()
        assert client.get("/health/ready").status_code == 200
