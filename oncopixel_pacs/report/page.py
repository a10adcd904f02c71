"""The page that a person reads: four views as they are hung, outcome, findings, models.

A4, one page whatever the study holds. The fonts are embedded; they have Latin, Greek and
Cyrillic. What they cannot show of a name is left out, and the page says so.
"""

from __future__ import annotations

import importlib.resources
import io
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from fontTools.ttLib import TTFont
from fpdf import FPDF
from fpdf.fonts import TTFFont
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import ImageResult, Laterality, StudyResult, Subject, View
from oncopixel_pacs.report.provenance import MODEL_NAME, Provenance, local_time
from oncopixel_pacs.report.sentences import SIDE_NAMES, picture_lines

_FAMILY = "Fira"
_FONTS = {"": "FiraSans-Regular.ttf", "B": "FiraSans-SemiBold.ttf"}
_MARGIN, _WIDTH = 12.0, 186.0
_THUMB_WIDTH, _THUMB_HEIGHT, _GAP = 64.0, 76.0, 3.0
_THUMB_PX = 640
_HUNG = (
    (Laterality.RIGHT, View.CC),
    (Laterality.LEFT, View.CC),
    (Laterality.RIGHT, View.MLO),
    (Laterality.LEFT, View.MLO),
)
_MOST_FINDINGS, _MOST_REASONS, _MOST_MODELS = 9, 3, 4
_OF_PICTURES = "AI report"
_GREY, _RED, _BLACK = (110, 110, 110), (170, 20, 20), (0, 0, 0)
Draw = Callable[[ImageResult], NDArray[np.uint8]]


def draw_page(
    header: Dataset, result: StudyResult, draw: Draw, provenance: Provenance, card_url: str
) -> bytes:
    """Draw the page of one study.

    Parameters
    ----------
    header
        Header of an image of the study, see `source_header.read_source`.
    draw
        Picture of an analysed image.

    Returns
    -------
    bytes
        PDF; the same for the same arguments.
    """
    pictures = result.subject is Subject.PICTURE
    page = _Page(provenance, _OF_PICTURES if pictures else "AI mammography report")
    page.head(header, local_time(provenance.created_at, header).strftime("%Y-%m-%d %H:%M %Z"))
    top = page.get_y() + 2
    if pictures:
        page.pictures(result, draw, top)
        said = list(picture_lines(result))
    else:
        page.views(result, draw, top)
        said = list(_outcome(result))
    page.column(_MARGIN + 2 * _THUMB_WIDTH + 2 * _GAP, top, said)
    if not pictures:
        page.findings(result, top + 2 * _THUMB_HEIGHT + 3 * _GAP)
    page.models(provenance, card_url)
    return page.finish()


class _Page(FPDF):
    """An A4 page; places are in millimetres from its upper left corner."""

    def __init__(self, provenance: Provenance, title: str) -> None:
        super().__init__(format="A4")
        for style, name in _FONTS.items():
            self.add_font(_FAMILY, style, _font(name))
        self.set_creation_date(provenance.created_at)
        self._title = title
        self.set_title(f"{title}. {RESEARCH_NOTICE}")
        self.set_creator(f"{MODEL_NAME} {provenance.software_version}")
        self.set_auto_page_break(False)
        self.set_margins(_MARGIN, _MARGIN)
        self.add_page()

    def finish(self) -> bytes:
        """Write the PDF, and let go of the fonts, which the library leaves open."""
        content = bytes(self.output())
        for font in self.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()
        return content

    def write_line(
        self,
        text: str,
        size: float = 8.5,
        *,
        bold: bool = False,
        colour: tuple[int, int, int] = _BLACK,
        width: float = _WIDTH,
        link: str = "",
    ) -> None:
        """Write one line, cut to its width, and go to the next."""
        left = self.get_x()
        self.set_font(_FAMILY, "B" if bold else "", size)
        self.set_text_color(*colour)
        shown = printable(text)
        while self.get_string_width(shown) > width and len(shown) > 1:
            shown = shown[:-2].rstrip() + "…"
        self.cell(width, size * 0.46, shown, link=link)
        self.set_xy(left, self.get_y() + size * 0.46)

    def head(self, header: Dataset, made: str) -> None:
        """Notice, patient and study."""
        self.write_line(self._title, 16, bold=True)
        self.write_line(RESEARCH_NOTICE, 11, bold=True, colour=_RED)
        self.ln(1)
        name, legible = patient_name(header)
        self.write_line(f"{name}   ·   ID {header.PatientID or '-'}", 10.5, bold=True)
        if not legible:
            self.write_line("Part of the name cannot be printed here; it stands in the study.", 8)
        born, sex = _day(header.PatientBirthDate), header.PatientSex or "-"
        study = f"Study {_day(header.StudyDate)}, accession {header.AccessionNumber or '-'}"
        self.write_line(f"Born {born}   ·   Sex {sex}   ·   {study}   ·   Report {made}")
        description = header.get("StudyDescription")
        if description:
            self.write_line(str(description), colour=_GREY)

    def views(self, result: StudyResult, draw: Draw, top: float) -> None:
        """Four views as they are hung: right on the left, CC above MLO."""
        for place, (laterality, view) in enumerate(_HUNG):
            left = _MARGIN + (place % 2) * (_THUMB_WIDTH + _GAP)
            upper = top + (place // 2) * (_THUMB_HEIGHT + _GAP)
            self.set_fill_color(0, 0, 0)
            self.rect(left, upper, _THUMB_WIDTH, _THUMB_HEIGHT, style="F")
            shown = _shown(result, laterality, view)
            if shown is not None and shown.analysed:
                self._picture(draw(shown), left, upper)
                continue
            self.set_xy(left + 4, upper + _THUMB_HEIGHT / 2 - 8)
            self.set_font(_FAMILY, "", 9)
            self.set_text_color(255, 255, 255)
            why = "No image." if shown is None else f"Not analysed. {_sentence(shown)}"
            said = f"{laterality} {view}\n{why}"
            self.multi_cell(_THUMB_WIDTH - 8, 4, printable(said), align="C")

    def pictures(self, result: StudyResult, draw: Draw, top: float) -> None:
        """Draw the first pictures that were analysed, as many as there is room for."""
        shown = [item for item in result.images if item.analysed][: len(_HUNG)]
        for place, item in enumerate(shown):
            left = _MARGIN + (place % 2) * (_THUMB_WIDTH + _GAP)
            upper = top + (place // 2) * (_THUMB_HEIGHT + _GAP)
            self.set_fill_color(0, 0, 0)
            self.rect(left, upper, _THUMB_WIDTH, _THUMB_HEIGHT, style="F")
            self._picture(draw(item), left, upper)

    def _picture(self, picture: NDArray[np.uint8], left: float, upper: float) -> None:
        image = Image.fromarray(picture, "RGB")
        width = max(round(image.width * _THUMB_PX / image.height), 1)
        out = io.BytesIO()
        reduced = image.resize((width, _THUMB_PX), Image.Resampling.BOX, reducing_gap=2.0)
        reduced.save(out, "JPEG", quality=80)
        scale = min(_THUMB_WIDTH / width, _THUMB_HEIGHT / _THUMB_PX)
        # Against the middle, as breasts are hung: chest walls face each other.
        inner = left < _MARGIN + _THUMB_WIDTH
        x = left + (_THUMB_WIDTH - width * scale if inner else 0)
        y = upper + (_THUMB_HEIGHT - _THUMB_PX * scale) / 2
        self.image(io.BytesIO(out.getvalue()), x, y, width * scale, _THUMB_PX * scale)

    def column(self, left: float, top: float, lines: list[tuple[str, bool]]) -> None:
        """Outcome and scores, beside the views."""
        self.set_y(top)
        for text, bold in lines:
            self.set_x(left)
            self.set_font(_FAMILY, "B" if bold else "", 10 if bold else 8.5)
            self.set_text_color(*_BLACK)
            self.multi_cell(_MARGIN + _WIDTH - left, 4.4, printable(text), align="L")
            self.ln(1)

    def findings(self, result: StudyResult, top: float) -> None:
        """Table of findings, the most probable first."""
        self.set_xy(_MARGIN, top)
        found = sorted(result.findings, key=lambda item: -item[1].probability)
        self.write_line(f"Lesion candidates ({len(found)})", 10.5, bold=True)
        if not found:
            said = "None was found." if result.analysed else "No image was analysed."
            self.write_line(said)
            return
        widths = (34.0, 30.0, 40.0, 30.0, 52.0)
        heads = ("Candidate", "Probability", "Axes (mm)", "Area (mm²)", "Centre (row, column)")
        self._row(heads, widths, bold=True)
        shown = [_shown(result, *place) for place in _HUNG]
        for image, item in found[:_MOST_FINDINGS]:
            row, column = item.centre
            axes = f"{item.long_axis_mm:.1f} × {item.short_axis_mm:.1f}"
            place = f"{row:.0f}, {column:.0f}"
            area = f"{item.area_mm2:.0f}"
            # Of a repeat, say, whose view another image stands for.
            name = item.tracking_id + ("" if image in shown else ", not shown")
            self._row((name, f"{item.probability:.0%}", axes, area, place), widths)
        if len(found) > _MOST_FINDINGS:
            self.write_line(f"and {len(found) - _MOST_FINDINGS} more; see the structured report.")

    def _row(
        self, cells: tuple[str, ...], widths: tuple[float, ...], *, bold: bool = False
    ) -> None:
        self.set_font(_FAMILY, "B" if bold else "", 8.5)
        self.set_text_color(*_BLACK)
        for cell, width in zip(cells, widths, strict=True):
            self.cell(width, 4.2, printable(cell))
        self.ln(4.2)

    def models(self, provenance: Provenance, card_url: str) -> None:
        """Who made it, at the foot."""
        shown = provenance.algorithms[:_MOST_MODELS]
        self.set_xy(_MARGIN, 297 - _MARGIN - 4.2 * (len(shown) + 3) - 3)
        self.write_line("Models", 10.5, bold=True)
        for item in shown:
            self.write_line(
                f"{item.name} {item.version} ({item.manufacturer}, {item.task}), operating point "
                f"{item.threshold:g}, weights {item.weights_sha256[:16]}",
                8,
            )
        card = card_url or "docs/README.md in the folder of each model"
        self.write_line(f"Model cards: {card}", 8, colour=_GREY, link=card_url)
        self.write_line(
            f"{MODEL_NAME} {provenance.software_version} on {provenance.device}. Probabilities "
            "are as the models' bundles calibrate them. Not reviewed by a person.",
            8,
            colour=_GREY,
        )


def patient_name(header: Dataset) -> tuple[str, bool]:
    """Give a name as it can be printed, and whether that is all of it."""
    name = PersonName(str(header.PatientName or ""))
    groups = [name.alphabetic, name.ideographic, name.phonetic]
    texts = [group.replace("^", " ").strip() for group in groups if group]
    shown = [text for text in texts if printable(text) == text]
    return " / ".join(shown) or ("-" if not texts else "?"), len(shown) == len(texts)


def printable(text: str) -> str:
    """Put a question mark for each character that the fonts do not have."""
    known = _characters()
    return "".join(c if ord(c) in known or c == "\n" else "?" for c in text)


def _outcome(result: StudyResult) -> Iterator[tuple[str, bool]]:
    """Sentences beside the views; those that matter most are bold."""
    if result.probability is not None:
        yield f"Probability of malignancy {result.probability:.0%}", True
        for laterality, probability in sorted(result.breasts.items(), reverse=True):
            yield f"{SIDE_NAMES[laterality]}: {probability:.0%}", False
    count = len(result.findings)
    if not result.analysed:
        yield "No image was analysed", True
    elif count:
        yield f"{count} lesion candidate{'' if count == 1 else 's'} marked", True
    else:
        yield "No lesion candidate was found", True
    left_out = [item for item in result.images if item.reason is not None]
    if left_out and result.analysed:
        yield f"{len(left_out)} of {len(result.images)} images were not analysed", True
    for item in left_out[:_MOST_REASONS]:
        detail = f" {item.reason_detail}"[:160].rstrip()
        yield f"{item.facts.name}: {_sentence(item)}{detail}", False
    if len(left_out) > _MOST_REASONS:
        yield f"and {len(left_out) - _MOST_REASONS} more; see the structured report.", False
    hidden = sum(item.analysed for item in result.images) - sum(
        (shown := _shown(result, *place)) is not None and shown.analysed for place in _HUNG
    )
    if hidden:
        yield f"{hidden} more image(s) were analysed and are not shown here.", False
    if result.revision > 1:
        yield f"Revision {result.revision}; it replaces what was reported before.", False


def _shown(result: StudyResult, laterality: Laterality, view: View) -> ImageResult | None:
    """Choose the image of a view that tells most: analysed, and of the highest probability."""
    of_view = [
        item
        for item in result.images
        if (item.facts.laterality, item.facts.view) == (laterality, view)
    ]
    of_view.sort(key=lambda item: (not item.analysed, -(item.probability or 0.0)))
    return of_view[0] if of_view else None


def _sentence(item: ImageResult) -> str:
    return "" if item.reason is None else item.reason.sentence


def _day(date: object) -> str:
    text = str(date or "")
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 else "-"


def _font(name: str) -> str:
    return str(importlib.resources.files("fontpkg_fira_sans") / "files" / name)


@cache
def _characters() -> frozenset[int]:
    """Code points that every font of the page has."""
    held = []
    for name in _FONTS.values():
        with TTFont(_font(name), lazy=True) as font:
            held.append(frozenset(font.getBestCmap()))
    return frozenset.intersection(*held)
