"""Tables of the shell: what others wrote is shown letter by letter, and does nothing."""

from __future__ import annotations

from rich import table
from rich.console import RenderableType
from rich.style import StyleType
from rich.text import Text

from oncopixel_pacs.logs import printable


class Table(table.Table):
    """A table whose cells are text alone.

    Names of patients, AE titles and users come from outside. Square brackets in them are no
    markup, and what would steer the terminal is written as an escape.
    """

    def add_row(
        self,
        *renderables: RenderableType | None,
        style: StyleType | None = None,
        end_section: bool = False,
    ) -> None:
        """Add a row."""
        cells = (Text(printable(it)) if isinstance(it, str) else it for it in renderables)
        super().add_row(*cells, style=style, end_section=end_section)
