"""Rules for the page that a person reads."""

from __future__ import annotations

from collections.abc import Iterator

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.report.parsed_object import ParsedItem


def page_uids(dataset: ParsedItem) -> list[str]:
    """SOP Instance UIDs of the images that a page tells of."""
    return [str(item.ReferencedSOPInstanceUID) for item in dataset.SourceInstanceSequence]


def page_problems(dataset: ParsedItem) -> Iterator[str]:
    """Check that it is a whole PDF of one page, and says what it is not."""
    if dataset.MIMETypeOfEncapsulatedDocument != "application/pdf":
        yield "its document is not said to be PDF"
    if dataset.Modality != "DOC":
        yield "its modality is not DOC"
    if RESEARCH_NOTICE not in str(dataset.DocumentTitle):
        yield "its title does not say that it is for research use only"
    if dataset.BurnedInAnnotation != "YES":
        yield "it does not say that text is burnt in"
    content = bytes(dataset.EncapsulatedDocument)
    length = int(dataset.EncapsulatedDocumentLength)
    if len(content) != length + length % 2:
        yield "its length is not that of its document"
    page = content[:length]
    if not page.startswith(b"%PDF-") or not page.rstrip().endswith(b"%%EOF"):
        yield "its document is no whole PDF"
    elif page.count(b"/Type /Page\n") != 1:
        yield "its document is not of one page"
