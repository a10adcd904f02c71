"""Serves an installed OHIF beside the pages, under a policy of its own."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import FileResponse, Response

from oncopixel_pacs.errors import NotFound

#: OHIF writes styles into its page, compiles WebAssembly and makes workers of its own.
_POLICY = (
    "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval' 'unsafe-eval' {inline}; "
    "worker-src 'self' blob:; connect-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; font-src 'self' data:; manifest-src 'self'; media-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {".wasm": "application/wasm", ".js": "text/javascript", ".mjs": "text/javascript"}
#: Names of built files hold a digest of what is in them, so they never change.
_NAMED_BY_CONTENT = re.compile(r"\.bundle\.[0-9a-f]{16}\.js$|^[0-9a-f]{16}\.(wasm|woff2)$")


def ohif_router(folder: Path, configuration: str) -> APIRouter:
    """Routes that serve the viewer in a folder.

    Parameters
    ----------
    configuration
        Its ``app-config.js``.
    """
    router = APIRouter(include_in_schema=False)
    index = (folder / "index.html").read_text(encoding="utf-8")
    policy = {"Content-Security-Policy": _POLICY.format(inline=_hashes(index))}

    @router.get("/ohif/{path:path}")
    def serve(path: Annotated[str, InPath(max_length=400)]) -> Response:
        """File of the viewer; any other path is a place in it."""
        if path == "app-config.js":
            return Response(configuration, media_type="text/javascript", headers=policy)
        file = (folder / path).resolve()
        if file.is_file() and file.is_relative_to(folder.resolve()) and path != "index.html":
            return FileResponse(file, media_type=_type_of(file), headers=policy | _keeping(file))
        if "." in path.rpartition("/")[2]:
            raise NotFound("The viewer has no such file.")
        return Response(index, media_type="text/html", headers=policy)

    for file in folder.iterdir():
        if _NAMED_BY_CONTENT.search(file.name):
            # Its workers and styles do not know where the page is and ask below the root.
            router.add_api_route(f"/{file.name}", _serving(file, policy), methods=["GET"])
    return router


def _serving(file: Path, headers: dict[str, str]) -> Callable[[], Response]:
    def serve() -> Response:
        return FileResponse(file, media_type=_type_of(file), headers=headers | _keeping(file))

    return serve


def _hashes(page: str) -> str:
    """Allow the scripts that are written into the page, and no others (CSP 3, 2.3.1)."""
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digests = [hashlib.sha256(item.encode()).digest() for item in scripts]
    return " ".join(f"'sha256-{base64.b64encode(item).decode()}'" for item in digests)


def _type_of(file: Path) -> str | None:
    return _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0]


def _keeping(file: Path) -> dict[str, str]:
    if _NAMED_BY_CONTENT.search(file.name):
        return {"Cache-Control": "private, max-age=604800, immutable"}
    return {"Cache-Control": "private, no-cache"}
