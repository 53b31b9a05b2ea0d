"""A self-contained HTML page: answers first, then sections of tables and pictures.

Whatever a page shows is given as these few nouns, so a new section needs no template.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

Status = Literal["good", "bad", "open"]


@dataclass(frozen=True, slots=True)
class Card:
    """A question that the reader has, and its answer."""

    question: str
    answer: str
    """A few words."""
    status: Status
    """Good, bad, or open: not known, or no difference shown."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the first column is to the left, numbers to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    text_columns: frozenset[int] = frozenset({0})
    """Columns of words: to the left, and broken into lines."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture drawn as SVG text."""

    svg: str
    caption: str

    @property
    def markup(self) -> Markup:
        """The SVG, which the page takes as it is."""
        return Markup(self.svg)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph as a `data:` address."""

    address: str
    caption: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page."""

    title: str
    lead: str = ""
    """What to know before looking."""
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    photos: Sequence[Photo] = ()

    @property
    def anchor(self) -> str:
        """Name of the section in an address."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


@dataclass(frozen=True, slots=True)
class Page:
    """The whole."""

    title: str
    subtitle: str
    cards: Sequence[Card]
    sections: Sequence[Section]


def render_page(page: Page) -> str:
    """Return the page: no script, no external address, light and dark, readable on a phone."""
    environment = Environment(
        loader=PackageLoader("damo_yolo.reporting"),
        autoescape=select_autoescape(["html", "j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(page=page)


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure as text, a dash where there is none (-1 in COCO's figures)."""
    return "–" if value is None or value == -1 else f"{value:.{digits}f}"  # noqa: RUF001 - a dash


def percent(value: float) -> str:
    """Return a share 0..1 as text."""
    return f"{100 * value:.1f} %"
