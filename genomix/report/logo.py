"""Sequence logos: letters as tall as a number, those of negative numbers hanging upside down below the line."""

from functools import cache

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from genomix.report.canvas import BASE_COLOURS, SOFT

BASES = "ACGT"
GAP = 0.06
"""Part of a position's width that stays free between letters."""


def draw_logo(axes: Axes, heights: Float64[np.ndarray, "L 4"], *, first: float = 0.0) -> None:
    """Draw letters at positions ``first``, ``first + 1`` and so on, each centred on its number.

    Args:
        axes: Where to.
        heights: Of A, C, G and T; 0 or NaN draws nothing. Several at one position are stacked, the largest outermost.
        first: Number of the first position.
    """
    patches: dict[str, list[PathPatch]] = {base: [] for base in BASES}
    for offset, column in enumerate(np.nan_to_num(heights)):
        for sign in (1.0, -1.0):
            level = 0.0
            for index in sorted(
                (index for index in range(4) if column[index] * sign > 0),
                key=lambda index: abs(column[index]),
            ):
                tall = float(column[index])
                box = (first + offset - 0.5 + GAP / 2, level, 1.0 - GAP, tall)
                patches[BASES[index]].append(PathPatch(_placed(BASES[index], *box)))
                level += tall
    for base, those in patches.items():
        if those:
            axes.add_collection(PatchCollection(those, facecolor=BASE_COLOURS[base], linewidths=0))
    axes.axhline(0.0, color=SOFT, linewidth=0.8)
    axes.set_xlim(first - 0.5, first + len(heights) - 0.5)
    stacked = [
        np.where(np.nan_to_num(heights) * sign > 0, np.nan_to_num(heights), 0.0).sum(axis=1)
        for sign in (1, -1)
    ]
    high, low = float(stacked[0].max(initial=0.0)), float(stacked[1].min(initial=0.0))
    margin = 0.06 * (high - low) or 1.0
    axes.set_ylim(low - (margin if low < 0 else 0.0), high + (margin if high > 0 or low == 0 else 0.0))
    axes.grid(visible=False)


def one_letter_heights(letters: str, values: Float64[np.ndarray, " L"]) -> NDArray[np.float64]:
    """Return the heights ``(L, 4)`` of a logo that shows each position's own letter; none for a letter such as N."""
    heights = np.zeros((len(letters), 4))
    for place, letter in enumerate(letters):
        if letter in BASES:
            heights[place, BASES.index(letter)] = values[place]
    return heights


def _placed(base: str, x: float, y: float, width: float, height: float) -> Path:
    """Return the outline of a letter in a box; a negative height turns it over."""
    placed: Path = Affine2D().scale(width, height).translate(x, y).transform_path(_glyph(base))
    return placed


@cache
def _glyph(base: str) -> Path:
    """Return the outline of a letter, stretched to the unit square."""
    path = TextPath((0, 0), base, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    unit: Path = (
        Affine2D().translate(-box.x0, -box.y0).scale(1 / box.width, 1 / box.height).transform_path(path)
    )
    return unit
