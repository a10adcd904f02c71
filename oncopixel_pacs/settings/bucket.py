"""Settings of the bucket that hosts may share instead of a folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from oncopixel_pacs.settings.section import Section


class BucketSettings(Section):
    """A bucket in object storage that speaks S3. Without `name` files lie in `data_dir` alone."""

    name: str = ""
    """Name of the bucket. Every host then has a `data_dir` of its own, as a cache."""
    prefix: str = ""
    """What our keys begin with; for a bucket that others use too."""
    endpoint: str = ""
    """URL of the server; that of AWS when absent."""
    region: str = "us-east-1"
    """Region of the bucket; most servers that are not AWS take any."""
    access_key_id: str = ""
    """Who we are; that of the machine's role when absent."""
    secret_access_key: SecretStr | None = None
    """Better in the environment: ``ONCOPIXEL_BUCKET__SECRET_ACCESS_KEY``."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """How long the server may take for one request, its repetitions included."""
    cache_bytes: Annotated[int, Field(ge=0)] | None = None
    """What a host may hold in `data_dir` of the files that lie in the bucket; past it, what was
    not used for longest goes. Absent: it keeps everything."""
