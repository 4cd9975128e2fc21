"""What all drawings share: colours, type, and how a drawing becomes SVG text or a file. No global pyplot state."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from genomix_data.atomic import atomic_file
from genomix_data.errors import ConfigError

INK, SOFT, GRID = "#1c2430", "#5b6675", "#e2e6ec"
COLOURS = ("#0b6e75", "#c8553d", "#8e7cc3", "#d9a400", "#1c2430")
"""Told apart in every common colour blindness: a test simulates them."""
BASE_COLOURS = {"A": "#009e73", "C": "#0072b2", "G": "#e69f00", "T": "#d55e00"}
"""Of Okabe and Ito's palette, near the colours that sequencing made customary."""

PICTURES = (".png", ".svg", ".pdf")
DPI = 150

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "svg.hashsalt": "genomix",
}


def shown_name(name: str, limit: int = 32) -> str:
    """Return a name from data as text that matplotlib draws as it is, its middle left out where it is too long.

    Dollars would be read as mathematics, and what begins with an underscore is kept out of legends.
    """
    if len(name) > limit:
        tail = limit // 2
        name = f"{name[: limit - tail - 1]}…{name[-tail:]}"
    plain = name.replace("$", r"\$")
    return f"\N{WORD JOINER}{plain}" if plain.startswith("_") else plain


def name_places(axes: Axes, names: Sequence[str], room: int) -> None:
    """Name the places 0, 1, ... of the x axis, aslant where a name has more letters than there is room for."""
    longest = max((len(line) for name in names for line in name.split("\n")), default=0)
    axes.set_xticks(range(len(names)), names)
    if longest > room:
        axes.tick_params(axis="x", labelrotation=30)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


@dataclass(slots=True)
class Drawing:
    """A figure to draw on, and its SVG text once the block of `drawing` has ended."""

    figure: Figure
    svg: str = field(default="")

    def axes(self) -> Axes:
        """Return axes that fill the figure."""
        return self.figure.add_subplot()


@contextmanager
def drawing(width: float = 5.0, height: float = 3.6) -> Iterator[Drawing]:
    """Yield a figure of so many inches in the house's style; its SVG text is there when the block has ended."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # its stub lists every key of rcParams
        drawn = Drawing(Figure(figsize=(width, height), layout="constrained"))
        FigureCanvasSVG(drawn.figure)
        yield drawn
        buffer = io.StringIO()
        drawn.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        drawn.svg = buffer.getvalue()


@contextmanager
def picture(path: str | os.PathLike[str], width: float, height: float) -> Iterator[Figure]:
    """Yield a figure that is written to ``path`` when the block has ended, whole or not at all, on white.

    Args:
        path: Ends in ``.png``, ``.svg`` or ``.pdf``.
        width: Inches.
        height: Inches.

    Raises:
        ConfigError: if the suffix is another.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURES:
        raise ConfigError(
            f"{str(path)!r}: pictures are written as {', '.join(PICTURES)}; choose one of them."
        )
    with mpl.rc_context(STYLE), atomic_file(path) as temporary:  # type: ignore[arg-type]  # as above
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        metadata = {} if suffix == ".png" else {"CreationDate" if suffix == ".pdf" else "Date": None}
        figure.savefig(temporary, format=suffix[1:], dpi=DPI, metadata=metadata)
