"""The picture of a saturation mutagenesis: a logo of what each base is worth, over a heat map of all its changes."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from genomix.report.canvas import GRID, SOFT, picture, shown_name
from genomix.report.logo import BASES, draw_logo, one_letter_heights

BASES_IN_A_ROW = 100
MOST_BASES = 2000
"""Beyond, letters could not be read, and a track in a genome browser shows more."""


def draw_saturation(
    path: str | os.PathLike[str],
    letters: str,
    llr: Float64[np.ndarray, "L 4"],
    deletion: Float64[np.ndarray, " L"] | None = None,
    *,
    chrom: str,
    start: int,
    unit: str,
) -> Path:
    """Write the picture of a region and return its path.

    The height of a base in the logo is minus the mean score of its substitutions: what is lost without it.

    Args:
        path: ``.png``, ``.svg`` or ``.pdf``.
        letters: Bases of the region, upper case; N where there are no scores.
        llr: Scores of a change to A, C, G, T; NaN at the base itself and where there is none.
        deletion: Scores of the deletion of each base; NaN where there is none.
        chrom: Contig.
        start: 0-based.
        unit: Of the scores.
    """
    # rows of about equal length rather than a short last one
    n_rows = -(-len(letters) // BASES_IN_A_ROW)
    in_a_row = -(-len(letters) // n_rows)
    rows = [(begin, min(begin + in_a_row, len(letters))) for begin in range(0, len(letters), in_a_row)]
    width = max(5.0, 0.135 * in_a_row + 1.6)
    worth = _worth(llr)
    known = np.abs(llr[np.isfinite(llr)])
    limit = float(np.percentile(known, 99)) if len(known) and known.max() > 0 else 1.0
    norm = TwoSlopeNorm(0.0, -limit, limit)
    contig = shown_name(chrom, 40)
    gap = "   " if width > 9 else "\n"
    n_ticks = max(2, min(8, int(width - 1.6)))  # a position in the millions is nearly an inch wide
    with picture(path, width, 2.55 * len(rows) + 0.5) as figure:
        # a row of the grid for each row of the picture, and beneath it its heat map
        grid = figure.add_gridspec(2 * len(rows), 1, height_ratios=[1.15, 1.0] * len(rows))
        heights = one_letter_heights(letters, worth)
        low, high = _range(worth)
        maps: list[Axes] = []
        for number, (begin, end) in enumerate(rows):
            logo = figure.add_subplot(grid[2 * number])
            draw_logo(logo, heights[begin:end], first=start + begin + 1)
            logo.set(ylabel="-mean llr", ylim=(low, high))
            logo.tick_params(labelbottom=False)
            logo.yaxis.set_major_locator(MaxNLocator(3))
            heat = figure.add_subplot(grid[2 * number + 1], sharex=logo)
            part = None if deletion is None else deletion[begin:end]
            _heat_map(heat, letters[begin:end], llr[begin:end], part, start + begin + 1, norm, n_ticks)
            logo.set_xlim(start + begin + 0.5, start + begin + in_a_row + 0.5)
            maps.append(heat)
        maps[-1].set_xlabel(f"position on {contig}")
        bar = figure.colorbar(
            ScalarMappable(norm, "RdBu"), ax=maps, shrink=min(1.0, 2.0 / len(rows)), aspect=14, extend="both"
        )
        bar.set_label(f"llr ({unit})")
        figure.suptitle(
            f"{contig}:{start + 1:,}-{start + len(letters):,}{gap}"
            "logo: minus the mean llr of the substitutions",
            fontsize=10,
            color=SOFT,
        )
    return Path(path)


def _worth(llr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return minus the mean of the scores at each position; 0 where there is none."""
    known = np.isfinite(llr)
    total = np.where(known, llr, 0.0).sum(axis=1)
    worth: NDArray[np.float64] = -total / np.maximum(known.sum(axis=1), 1)
    return worth


def _range(worth: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(worth.min(initial=0.0)), float(worth.max(initial=0.0))
    margin = 0.06 * (high - low) or 1.0
    return low - (margin if low < 0 else 0.0), high + margin


def _heat_map(
    axes: Axes,
    letters: str,
    llr: NDArray[np.float64],
    deletion: NDArray[np.float64] | None,
    first: int,
    norm: TwoSlopeNorm,
    n_ticks: int,
) -> None:
    table = llr.T if deletion is None else np.vstack([llr.T, deletion])
    names = list(BASES) + ([] if deletion is None else ["del"])
    n_rows, n_columns = table.shape
    axes.axvspan(first - 0.5, first + n_columns - 0.5, color=GRID, linewidth=0, zorder=0)
    axes.pcolormesh(
        np.arange(n_columns + 1) + first - 0.5,
        np.arange(n_rows + 1) - 0.5,
        table,
        cmap="RdBu",
        norm=norm,
        linewidth=0,
    )
    at = [(place + first, BASES.index(base)) for place, base in enumerate(letters) if base in BASES]
    axes.scatter([x for x, _ in at], [y for _, y in at], s=4, color=SOFT, linewidths=0)
    axes.set_yticks(range(n_rows), names)
    axes.set_ylim(n_rows - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(n_ticks, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(visible=False)
