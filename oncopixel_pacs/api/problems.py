"""Every error answers with a problem document (RFC 9457), or with a page for a person.

Nothing of the program shows: no trace, no path, no text of a foreign exception.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oncopixel_pacs.api.rendering import Pages
from oncopixel_pacs.errors import (
    ConfigurationError,
    NotFound,
    OncoPixelError,
    OutOfResources,
    UnreadableImage,
)

log = structlog.get_logger()

#: First match counts. What an action refuses as configured is a conflict with its state.
STATUS_OF: tuple[tuple[type[OncoPixelError], int], ...] = (
    (NotFound, 404),
    (OutOfResources, 503),
    (UnreadableImage, 406),
    (ConfigurationError, 409),
    (OncoPixelError, 500),
)
UNEXPECTED = "The server met an error that it did not expect; its log says where."
_FOR_PROGRAMS = ("/api/", "/dicom-web/", "/health/", "/openapi.json", "/static/", "/metrics")
_MEANINGS = {
    400: "The request cannot be understood.",
    401: "Who asks did not say who it is, or is not known.",
    403: "Who asks may not do this, or the request came from a page of another site.",
    404: "What the path names is not here.",
    406: "It cannot be given in any form that the client accepts.",
    408: "The body stopped in the middle.",
    409: "The state of what is asked for does not allow it, or the same request is under way.",
    413: "The body is larger than what is taken.",
    415: "The body is of a media type that is not taken.",
    422: "A parameter is not allowed.",
    503: "The server cannot do its work now.",
    507: "There is no room on the disk of the server.",
}


class Problem(BaseModel):
    """Problem document, RFC 9457 section 3."""

    model_config = ConfigDict(
        extra="allow",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "There is no job 3f2a.",
                }
            ]
        },
    )

    type: str = "about:blank"
    """Always ``about:blank``: the status says what kind of problem it is."""
    title: str
    """Meaning of the status in HTTP."""
    status: int
    """HTTP status."""
    detail: str
    """One sentence: what is wrong and what to do."""


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem answers of a route, as OpenAPI describes them; 401, 403 and 422 are always there."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": _example(status),
                }
            },
        }
        for status in sorted({401, 403, 422, *statuses})
    }


def problem(
    request: Request,
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """Answer with a problem: a document for programs, a page for a browser on a page's path."""
    title = HTTPStatus(status).phrase
    if _is_for_person(request):
        pages = cast(Pages, request.app.state.pages)
        page = pages.render("problem.html", status=status, title=title, code=status, detail=detail)
        page.headers.update(dict(headers or {}))
        return page
    body = Problem(title=title, status=status, detail=detail, **members)
    return JSONResponse(
        body.model_dump(mode="json"),
        status,
        dict(headers or {}),
        media_type="application/problem+json",
    )


def described_by_name(describe: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Add the problem document to a description, once, where `documented` refers to it.

    Generators of clients make one class of it, and none of the same again for each answer.
    """

    def with_problem() -> dict[str, Any]:
        description = describe()
        schemas = description.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", Problem.model_json_schema())
        return description

    return with_problem


def install(app: FastAPI) -> None:
    """Make an application answer its known errors with problems."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(OncoPixelError, _on_ours)


class ErrorBarrier:
    """The last line: whatever was not expected becomes a 500 and a log entry.

    Only type and place are logged; the text of a foreign exception may quote a header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except OutOfResources as exc:  # of a guard, outside of what handles those of routes
            if not begun:
                await _on_ours(Request(scope), exc)(scope, receive, send)
        except Exception as exc:
            log.error(
                "http.failed",
                path=path_for_log(Request(scope)),
                error=type(exc).__name__,
                trace="".join(traceback.format_tb(exc.__traceback__)),
            )
            if not begun:
                await problem(Request(scope), 500, UNEXPECTED)(scope, receive, send)


def _on_http(request: Request, exc: Exception) -> Response:
    error = cast(HTTPException, exc)
    detail = error.detail
    if detail == HTTPStatus(error.status_code).phrase:
        detail = _plain_words(request, error.status_code)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = _methods_of(request)
        headers |= {"Allow": ", ".join(allowed)} if allowed else {}
    return problem(request, error.status_code, detail, headers=headers)


def path_for_log(request: Request) -> str:
    """Path as its route is declared: what callers put into it, however they err, is not told."""
    for route in getattr(request.app.state, "routes", ()):
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            return str(route.path)
    return "unknown"


def _methods_of(request: Request) -> list[str]:
    """Methods of every route with this path; the framework names those of the first alone."""
    found: set[str] = set()
    for route in getattr(request.app.state, "routes", ()):
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            found |= route.methods
    return sorted(found)


def _on_validation(request: Request, exc: Exception) -> Response:
    errors = [
        {"where": ".".join(str(part) for part in item["loc"]), "what": str(item["msg"])}
        for item in cast(RequestValidationError, exc).errors()
    ]
    detail = "; ".join(f"{item['where']}: {item['what']}" for item in errors) + "."
    return problem(request, 422, detail, errors=errors)


def _on_ours(request: Request, exc: Exception) -> Response:
    status = next(number for kind, number in STATUS_OF if isinstance(exc, kind))
    return problem(request, status, str(exc))


def _plain_words(request: Request, status: int) -> str:
    if status == 404:
        return "There is nothing under this path; /docs lists what there is."
    if status == 405:
        return f"{request.method} is not allowed here; /docs lists what is."
    return HTTPStatus(status).phrase


def _is_for_person(request: Request) -> bool:
    if request.url.path.startswith(_FOR_PROGRAMS) or request.url.path == "/api":
        return False
    return "text/html" in request.headers.get("accept", "")


def _example(status: int) -> dict[str, Any]:
    return Problem(
        title=HTTPStatus(status).phrase, status=status, detail=_MEANINGS[status]
    ).model_dump()
