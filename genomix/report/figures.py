"""The drawings of a report, as SVG text: training curves, confusion matrices, ROC curves, score distributions."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from genomix.report.canvas import COLOURS, INK, SOFT, drawing, name_places, shown_name


def training_curve(
    x: Sequence[float],
    y: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    smooth: int = 0,
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    levels: Mapping[str, float] | None = None,
) -> str:
    """Return a curve of ``y`` over ``x``.

    Args:
        x: Steps, tokens or epochs.
        y: Loss or bits per base.
        x_label: What ``x`` is, with its unit.
        y_label: What ``y`` is, with its unit.
        smooth: Draw the running mean over this many points in front of the raw curve; 0 for the raw curve alone.
        points: Further series (validation, say), by name.
        levels: Horizontal lines to compare with (a baseline, say), by name.
    """
    with drawing(6.4) as drawn:
        axes = drawn.axes()
        if smooth > 1 and len(y) >= 2 * smooth:
            axes.plot(x, y, color=COLOURS[0], alpha=0.22, linewidth=1)
            kernel = np.ones(smooth) / smooth
            axes.plot(
                np.asarray(x)[smooth - 1 :],
                np.convolve(y, kernel, mode="valid"),
                color=COLOURS[0],
                linewidth=1.8,
                label=f"training (mean of {smooth})",
            )
        else:
            axes.plot(x, y, color=COLOURS[0], linewidth=1.8, label="training")
        for index, (name, (px, py)) in enumerate((points or {}).items()):
            axes.plot(
                px, py, color=COLOURS[1 + index % 4], marker="o", markersize=4, linewidth=1.2, label=name
            )
        for index, (name, level) in enumerate((levels or {}).items()):
            style = ("--", ":", "-.")[index % 3]
            axes.axhline(level, color=SOFT, linestyle=style, linewidth=1.2, label=name)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.set_ylim(*_range_that_shows(y, points or {}, levels or {}))
        axes.legend(fontsize=9)
    return drawn.svg


def _range_that_shows(
    y: Sequence[float],
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    levels: Mapping[str, float],
) -> tuple[float, float]:
    """Return limits that hold the end of the curve and what it is compared with; the first drop runs off the top."""
    settled = np.asarray(y)[len(y) // 10 :]
    compared = [value for _, values in points.values() for value in list(values)[1:]] + list(levels.values())
    low = min([settled.min(), *compared])
    high = max([np.percentile(settled, 98), *compared])
    margin = 0.08 * (high - low) or 0.05
    return low - margin, high + margin


def confusion_matrix(counts: NDArray[np.int64], class_names: Sequence[str]) -> str:
    """Return a confusion matrix: counts in the cells, shade by share of the true class.

    Args:
        counts: ``(C, C)``; rows are the true class, columns the predicted one.
        class_names: The C names.
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.4, 0.8 * len(class_names) + 1.8)
    names = [shown_name(name, 24) for name in class_names]
    beside = 0.08 * max(0, max(map(len, names)) - 8)  # inches that long names take beside the matrix
    with drawing(side + 0.4 + beside, side + beside / 2) as drawn:
        axes = drawn.axes()
        axes.imshow(share, cmap="GnBu", vmin=0, vmax=1)
        axes.grid(visible=False)
        for row in range(len(class_names)):
            for column in range(len(class_names)):
                axes.text(
                    column,
                    row,
                    f"{counts[row, column]:,}\n{share[row, column]:.0%}",
                    ha="center",
                    va="center",
                    color="white" if share[row, column] > 0.6 else INK,
                )
        name_places(axes, names, room=9)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="true")
        axes.spines[:].set_visible(False)
    return drawn.svg


def roc_curves(curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> str:
    """Return ROC curves, each given by name as (false positive rate, true positive rate)."""
    with drawing(4.2, 3.9) as drawn:
        axes = drawn.axes()
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1)
        for index, (name, (fpr, tpr)) in enumerate(curves.items()):
            axes.plot(fpr, tpr, color=COLOURS[index % len(COLOURS)], linewidth=1.8, label=name)
        axes.set(
            xlabel="false positive rate",
            ylabel="true positive rate",
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.01),
            aspect="equal",
        )
        axes.legend(fontsize=9, loc="lower right")
    return drawn.svg


def score_distributions(groups: Mapping[str, NDArray[np.float64]], *, x_label: str) -> str:
    """Return the densities of a score in several groups as outlined histograms on the same bins.

    The x axis spans the 0.5th to 99.5th percentile of all scores; what lies outside is counted in the end bins.
    """
    everything = np.concatenate(list(groups.values()))
    low, high = np.percentile(everything, [0.5, 99.5])
    if low == high:
        low, high = low - 0.5, high + 0.5
    bins = np.linspace(low, high, 41)
    with drawing(6.0) as drawn:
        axes = drawn.axes()
        for index, (name, scores) in enumerate(groups.items()):
            colour = COLOURS[index % len(COLOURS)]
            inside = np.clip(scores, low, high)
            axes.hist(inside, bins=list(bins), density=True, histtype="stepfilled", color=colour, alpha=0.12)
            axes.hist(
                inside,
                bins=list(bins),
                density=True,
                histtype="step",
                color=colour,
                linewidth=1.6,
                label=f"{name} (n = {len(scores):,})",
            )
        axes.set(xlabel=x_label, ylabel="density")
        axes.legend(fontsize=9)
    return drawn.svg
