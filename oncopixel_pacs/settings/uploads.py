"""Settings of uploads over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from oncopixel_pacs.settings.section import Section

Count = Annotated[int, Field(ge=1)]


class UploadSettings(Section):
    """How much one upload may ask of the server."""

    max_bytes: Count = 2 * 1024**3
    """Longest request body; longer ones are refused with 413."""
    max_files: Count = 100
    """Most files in one request."""
    max_pixels: Count = 8192 * 8192
    """Most pixels of one image, rows times columns."""
    max_zip_entries: Count = 2000
    """Most entries of an archive."""
    max_unpacked_bytes: Count = 4 * 1024**3
    """Most bytes that the archives of one upload may unpack to."""
    max_zip_ratio: Count = 100
    """How many times its size an archive, or an entry, may unpack to."""
    at_once: Count = 4
    """Uploads at a time; a further one is told to come again (503)."""
    stall_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """An upload from which nothing comes for so long is given up (408)."""
    unpack_seconds: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """Longest time that opening archives and pictures may take."""
