"""Pages on which a person uploads images and sees what came of them."""

from __future__ import annotations

from typing import cast

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from oncopixel_pacs.api.pages import Templates, pages_of
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.upload_schemas import UploadAnswer, UploadState
from oncopixel_pacs.api.uploads import answer_of, take_upload
from oncopixel_pacs.domain.uploads import FileOutcome

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_SECONDS = 2
_RECENT = 10


@router.get("/upload")
def show_form(parts: Parts, pages: Templates) -> HTMLResponse:
    """Ask for files; without a script it is a plain form."""
    uploads = [answer_of(parts, item) for item in parts.uploads.recent(_RECENT)]
    return pages.render(
        "upload.html", uploads=uploads, limits=parts.settings.upload, now=parts.now()
    )


@router.post("/upload", response_class=RedirectResponse)
async def upload(request: Request) -> RedirectResponse:
    """Take the files of the form, then show what came of them."""
    taken = await take_upload(request)
    return RedirectResponse(f"/uploads/{taken.id}", status_code=303)


@router.get("/uploads/{upload_id}")
async def show_upload(request: Request, upload_id: Key) -> HTMLResponse:
    """One upload; it loads itself again until there is an answer."""
    parts = cast(ApiParts, request.app.state.parts)

    def read() -> UploadAnswer:
        return answer_of(parts, parts.uploads.upload(upload_id))

    answer = await to_thread.run_sync(read)
    busy = answer.state in (UploadState.WAITING, UploadState.ANALYSING)
    return pages_of(request).render(
        "upload_result.html",
        upload=answer,
        left_out=[
            item
            for item in answer.images
            if item.outcome in (FileOutcome.SKIPPED, FileOutcome.CONFLICT)
        ],
        refresh=_SECONDS if busy else None,
        now=parts.now(),
    )
