"""A real OHIF in headless Chromium, in front of any DICOMweb server; tests assert its pixels.

The viewer is the published build of OHIF, unmodified but for
``oncopixel_pacs/viewer/app-config.js``. It is
fetched once with ``npm pack``, checked against its SHA-512, and kept in the user's cache folder
(``XDG_CACHE_HOME``). It is served from one origin together with a reverse proxy to the DICOMweb
server, so the server needs no CORS. Use it so::

    with ohif_viewer("http://127.0.0.1:8042/dicom-web") as viewer:
        viewer.open_list()                            # the study list; viewer.page is Playwright's
        viewer.open_study(study_instance_uid)         # R CC, L CC, R MLO, L MLO in 2 × 2
        viewer.wait_for_overlays(4)                   # SEGs attached to the images they are of
        pane = viewer.pane_of(sop_instance_uid)       # 0 to 3, in reading order
        viewer.wait_for_colour(pane, (row, column), lambda c: c[0] - max(c[1:]) > 40)
        viewer.show("AI report")                      # double-click a thumbnail: SR, SC, …
        viewer.wait_for_annotations(2)                # graphics of an SR
        viewer.screenshot(path)
        assert viewer.complaints == []

``open_study(uid, overlay=False)`` shows the images alone: the negative control of a pixel test.
A server with a token takes ``headers={"Authorization": "Bearer …"}``, which the proxy adds.
Starting costs two seconds, a study of four views about ten; a module-scoped fixture saves the
first. Where npm, Chromium or the network is missing the test is skipped; with ``CI`` in the
environment it fails instead.
"""

from __future__ import annotations

import mimetypes
import os
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from browser import npm_pack, unavailable
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from playwright.sync_api import Page, sync_playwright
from server_process import wait_until

from oncopixel_pacs.api.http_server import HttpServer
from oncopixel_pacs.viewer import INTEGRITY, PACKAGE

CONFIGURATION = Path(__file__).parents[1] / "oncopixel_pacs" / "viewer" / "app-config.js"
CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # WebGL in software: the same on a machine with a graphics card and without.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
#: Parts of the build that mammography does not need; three quarters of its size.
_LEFT_OUT = ("package/dist/ort/", "package/dist/dicom-microscopy-viewer/")
_TYPES = {".wasm": "application/wasm", ".js": "text/javascript", ".mjs": "text/javascript"}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
_SECONDS = 90.0
#: Its introduction and its notice, once read, no longer cover the images.
UNCOVERED = """
  localStorage.setItem('shownTours', '["basicViewerTour"]');
  sessionStorage.setItem('investigationalUseDialog', 'hidden');
"""

Colour = tuple[int, int, int]

_RENDERED = """number => {
  const engine = window.cornerstone?.getRenderingEngines?.()[0];
  const shown = (engine?.getViewports() ?? []).filter(v => v.getCurrentImageId?.());
  return shown.length >= number && shown.every(v => v.viewportStatus === 'rendered');
}"""
_OVERLAYS = """number => {
  const overlays = window.oncopixelOverlays;
  return overlays && overlays.attached >= number && overlays.drawn;
}"""
#: Viewports of the grid in reading order, as cornerstone knows them.
_PANES = """
  const grid = [...window.services.viewportGridService.getState().viewports.values()];
  grid.sort((a, b) => a.y - b.y || a.x - b.x);
  const panes = grid.map(v =>
    window.services.cornerstoneViewportService.getCornerstoneViewport(v.viewportId));
"""
_IMAGE_IDS = f"() => {{ {_PANES} return panes.map(v => v?.getCurrentImageId?.() ?? ''); }}"
_COLOUR = f"""([pane, row, column]) => {{ {_PANES}
  const viewport = panes[pane];
  const world = cornerstone.utilities.imageToWorldCoords(
    viewport.getCurrentImageId(), [column, row]);
  const [x, y] = viewport.worldToCanvas(world);
  const source = viewport.getCanvas();
  const copy = document.createElement('canvas');
  copy.width = source.width;
  copy.height = source.height;
  const context = copy.getContext('2d');
  context.drawImage(source, 0, 0);
  const scale = source.width / source.clientWidth;
  return [...context.getImageData(Math.round(x * scale), Math.round(y * scale), 1, 1).data];
}}"""
_ANNOTATIONS = """() => window.cornerstoneTools.annotation.state.getAllAnnotations()
  .filter(item => item.metadata.toolName === 'DICOMSRDisplay').length"""


@dataclass
class Viewer:
    """OHIF in one browser page.

    Attributes
    ----------
    page
        Playwright's, for whatever is not here.
    address
        Origin at which OHIF is served.
    complaints
        Uncaught errors of the page, and answers with a status of 500 and above.
    """

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)

    def open_list(self) -> None:
        """Open the study list; `listed` looks at it."""
        self.page.goto(self.address, wait_until="domcontentloaded")

    def listed(self, text: str) -> bool:
        """Wait for a row of the study list with this text, such as a patient's name."""
        self.page.locator("tr", has_text=text).first.wait_for(timeout=_SECONDS * 1000)
        return True

    def open_study(self, study_instance_uid: str, *, images: int = 4, overlay: bool = True) -> None:
        """Open a study in the 2 × 2 hanging, and wait until so many images are drawn."""
        query = f"StudyInstanceUIDs={study_instance_uid}&hangingprotocolId=oncopixel.mammo"
        query += "" if overlay else "&overlay=off"
        self.page.goto(f"{self.address}/viewer?{query}", wait_until="domcontentloaded")
        self.wait_for_images(images)

    def wait_for_images(self, number: int) -> None:
        """Wait until so many images are drawn."""
        self.page.wait_for_function(_RENDERED, arg=number)

    def wait_for_overlays(self, number: int) -> None:
        """Wait until so many segmentations are attached and drawn."""
        self.page.wait_for_function(_OVERLAYS, arg=number)

    def pane_of(self, sop_instance_uid: str) -> int:
        """Tell which pane shows an image, counted from 0 in reading order."""
        shown: list[str] = self.page.evaluate(_IMAGE_IDS)
        found = [n for n, item in enumerate(shown) if f"/instances/{sop_instance_uid}/" in item]
        assert len(found) == 1, f"{sop_instance_uid} is in panes {found} of {shown}"
        return found[0]

    def colour_at(self, pane: int, pixel: tuple[float, float]) -> Colour:
        """Read the colour on screen at an image's stored ``(row, column)``."""
        red, green, blue, _ = self.page.evaluate(_COLOUR, [pane, *pixel])
        return red, green, blue

    def wait_for_colour(
        self,
        pane: int,
        pixel: tuple[float, float],
        fits: Callable[[Colour], bool],
        seconds: float = _SECONDS,
    ) -> Colour:
        """Wait until the colour at a pixel fits; fails with the last one seen."""
        seen: list[Colour] = []

        def look() -> bool:
            seen.append(self.colour_at(pane, pixel))
            return fits(seen[-1])

        try:
            wait_until(look, seconds, "the colour does not fit", interval=0.3)
        except AssertionError as exc:
            raise AssertionError(f"pane {pane} at {pixel} stays {seen[-1]}") from exc
        return seen[-1]

    @contextmanager
    def on_a_slow_computer(self, times: int) -> Iterator[None]:
        """Take so many times as long for everything that the page computes."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": times})
        try:
            yield
        finally:
            session.send("Emulation.setCPUThrottlingRate", {"rate": 1})
            session.detach()

    def show(self, thumbnail: str) -> None:
        """Double-click the thumbnail that has this text; it opens in the active pane."""
        found = self.page.locator('[data-cy^="study-browser-thumbnail"]', has_text=thumbnail).first
        found.scroll_into_view_if_needed()
        found.dblclick()

    def wait_for_annotations(self, number: int) -> None:
        """Wait until at least so many graphics of a structured report are shown."""
        self.page.wait_for_function(f"number => ({_ANNOTATIONS})() >= number", arg=number)

    def wait_for_graphic_text(self, text: str) -> str:
        """Wait for a text over the images, such as the values beside an SR's graphics."""
        found = self.page.locator("svg text", has_text=text).first
        found.wait_for(state="attached")
        return found.text_content() or ""

    def screenshot(self, path: Path) -> None:
        """Keep what is seen as PNG."""
        self.page.screenshot(path=path)


@contextmanager
def ohif_viewer(dicomweb: str, headers: Mapping[str, str] | None = None) -> Iterator[Viewer]:
    """Start OHIF in front of the DICOMweb service at this URL, in a browser of its own."""
    if CHROMIUM is None:
        unavailable("OHIF", "chromium is not installed (apt-get install chromium)")
    with (
        _serving(fetch_ohif(), dicomweb, headers or {}) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(_SECONDS * 1000)
        viewer = Viewer(page, address)
        page.on("pageerror", lambda error: viewer.complaints.append(str(error)))
        page.on("response", lambda answer: _note(viewer, answer.status, answer.url))
        page.add_init_script(UNCOVERED)
        try:
            yield viewer
        finally:
            browser.close()


def ohif_archive() -> Path:
    """Package as npm published it; fetched when it is not in the cache."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = caches / "oncopixel-tests" / "ohif-app-3.13.2.tgz"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as temporary:
            npm_pack(PACKAGE, INTEGRITY, Path(temporary)).rename(kept)
    return kept


def fetch_ohif() -> Path:
    """Folder with the published build; unpacked when it is not in the cache."""
    folder = ohif_archive().parent / PACKAGE.rpartition("/")[2]
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            unpacked = Path(temporary) / "unpacked"
            _unpack(ohif_archive(), unpacked)
            # Whole or not at all, also when two processes unpack it.
            if not folder.is_dir():
                unpacked.rename(folder)
    return folder / "package" / "dist"


def _unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as packed:
        wanted = [m for m in packed.getmembers() if not m.name.startswith(_LEFT_OUT)]
        packed.extractall(target, wanted, filter="data")


def _note(viewer: Viewer, status: int, url: str) -> None:
    if status >= 500:
        viewer.complaints.append(f"{status} {url}")


@contextmanager
def _serving(dist: Path, dicomweb: str, headers: Mapping[str, str]) -> Iterator[str]:
    """Serve build, configuration and a proxy at ``/dicom-web`` from one origin."""
    app = FastAPI(openapi_url=None)
    base = dicomweb.rstrip("/")

    @app.api_route("/dicom-web/{path:path}", methods=["GET", "POST"])
    async def proxy(path: str, request: Request) -> Response:
        # Host is kept: the server makes its URLs from it.
        kept = {k: v for k, v in request.headers.items() if k not in _HOP_BY_HOP}
        client = httpx.AsyncClient(trust_env=False, timeout=_SECONDS)
        answer = await client.send(
            client.build_request(
                request.method,
                f"{base}/{path}",
                params=request.query_params,
                headers={**kept, **headers},
                content=await request.body(),
            ),
            stream=True,
        )

        async def body() -> AsyncIterator[bytes]:
            async for chunk in answer.aiter_raw():
                yield chunk
            await answer.aclose()
            await client.aclose()

        passed = {k: v for k, v in answer.headers.items() if k not in _HOP_BY_HOP}
        return StreamingResponse(body(), answer.status_code, passed)

    @app.get("/{path:path}")
    def build(path: str) -> Response:
        if path == "app-config.js":
            return FileResponse(CONFIGURATION, media_type="text/javascript")
        file = (dist / path).resolve()
        if file.is_file() and file.is_relative_to(dist):
            kind = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0]
            return FileResponse(file, media_type=kind)
        if "." in path.rpartition("/")[2]:
            return Response(status_code=404)
        return FileResponse(dist / "index.html")  # a route of the single page

    server = HttpServer(app, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.start()}"
    finally:
        server.stop()
