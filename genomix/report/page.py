"""A report page: sections of text, tables and figures, rendered into one HTML file that needs nothing beside it."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from genomix_data.atomic import atomic_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing (SVG text) with what it shows in words; a wide one has the width of the page to itself."""

    svg: str
    caption: str
    is_wide: bool = False

    @property
    def source(self) -> str:
        """The SVG as a data URI; an image of its own keeps ids of several drawings apart."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a header. Columns whose cells are all numbers are set flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def numeric(self) -> list[bool]:
        """For each column, whether all its cells are numbers (or empty)."""
        return [all(_is_number(row[index]) for row in self.rows) for index in range(len(self.columns))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One figure that people should see first, with what to compare it to."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A line of provenance."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A chapter of the page: paragraphs, then figures side by side, then tables, then commands to repeat it."""

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    commands: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    cards: Sequence[Card] = ()
    sections: Sequence[Section] = ()
    provenance: Sequence[Fact] = field(default_factory=tuple)

    def to_html(self) -> str:
        """Return the page as one HTML text; everything from data is escaped."""
        from jinja2 import Environment

        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        source = files("genomix.report").joinpath("page.html.j2").read_text(encoding="utf-8")
        return environment.from_string(source).render(page=self)


def write_page(page: Page, path: str | os.PathLike[str]) -> Path:
    """Write ``page`` to ``path``, whole or not at all, and return the path."""
    final = Path(path)
    with atomic_file(final) as temporary:
        temporary.write_text(page.to_html(), encoding="utf-8")
    return final


def _is_number(cell: str) -> bool:
    stripped = cell.strip().replace(",", "").replace("%", "").replace("−", "-")
    if stripped in {"", "-"}:
        return True
    number, _, rest = stripped.partition(" ")
    try:
        float(number)
    except ValueError:
        return False
    # "0.81 (0.79 to 0.83)" and "3 to 5" are numbers; "4 x 256, one seed" is a text
    return not rest or rest.startswith(("(", "to ", "±"))
