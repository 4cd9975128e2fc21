"""The picture of attributions: a sequence logo for each sequence, letters as tall as what they add."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from matplotlib.ticker import FuncFormatter, MaxNLocator

from genomix.report.canvas import picture, shown_name
from genomix.report.logo import draw_logo, one_letter_heights

BASES_IN_A_ROW = 100


@dataclass(frozen=True, slots=True)
class LogoRow:
    """One sequence.

    Attributes:
        title: Above its logo.
        letters: A, C, G, T, N.
        scores: Of each letter.
        position: Gives the number to show for an offset in the sequence.
    """

    title: str
    letters: str
    scores: Float64[np.ndarray, " L"]
    position: Callable[[int], int]


def draw_attributions(path: str | os.PathLike[str], sequences: Sequence[LogoRow], *, label: str) -> Path:
    """Write the picture and return its path.

    Args:
        path: ``.png``, ``.svg`` or ``.pdf``.
        sequences: At least one; long ones are wrapped into several rows of the same scale.
        label: Of the vertical axes.
    """
    longest = max(len(each.letters) for each in sequences)
    in_a_row = -(-longest // -(-longest // BASES_IN_A_ROW))
    rows = [
        (each, begin, min(begin + in_a_row, len(each.letters)))
        for each in sequences
        for begin in range(0, len(each.letters), in_a_row)
    ]
    with picture(path, max(6.0, 0.135 * in_a_row + 1.0), 1.55 * len(rows) + 0.2) as figure:
        panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for axes, (each, begin, end) in zip(panels, rows, strict=True):
            heights = one_letter_heights(each.letters, each.scores)
            draw_logo(axes, heights[begin:end], first=begin)
            low, high = float(each.scores.min(initial=0.0)), float(each.scores.max(initial=0.0))
            margin = 0.06 * (high - low) or 1.0
            axes.set(xlim=(begin - 0.5, begin + in_a_row - 0.5), ylim=(low - margin, high + margin))
            if begin == 0:
                axes.set_title(shown_name(each.title, 100), fontsize=9, loc="left")
            axes.set_ylabel(label, fontsize=9)
            axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
            axes.xaxis.set_major_formatter(FuncFormatter(_namer(each)))
            axes.tick_params(labelsize=8)
    return Path(path)


def _namer(each: LogoRow) -> Callable[[float, int | None], str]:
    def name(value: float, _: int | None) -> str:
        offset = round(value)
        return f"{each.position(offset):,}" if 0 <= offset < len(each.letters) else ""

    return name
