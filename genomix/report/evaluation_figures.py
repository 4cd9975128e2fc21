"""Drawings of how good predictions are, as SVG text: curves with bands, calibration, shares, scores by class, place."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from genomix.evaluation.proportions import Bin, Calibration
from genomix.evaluation.ranking import Curve, Separation
from genomix.report.canvas import COLOURS, INK, SOFT, drawing, name_places, shown_name

LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v")
MOST_CURVES = len(COLOURS)
MOST_BREAKS = 24
POINTS_IN_A_STRIP = 1500
"""Of a class with more scores, so many drawn at random are shown as points; its outline is of all of them."""


def roc_with_bands(curves: Mapping[str, Separation]) -> str:
    """Return ROC curves by name with their bootstrap bands; the first `MOST_CURVES` of them."""
    with drawing(4.4, 4.1) as drawn:
        axes = drawn.axes()
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1)
        for index, (name, found) in enumerate(list(curves.items())[:MOST_CURVES]):
            _curve(axes, found.roc, index, f"{shown_name(name)}: {found.auroc.value:.3f}")
        axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        _unit_square(axes)
        axes.legend(fontsize=9, loc="lower right", title="AUROC", title_fontsize=9)
    return drawn.svg


def precision_recall_with_bands(curves: Mapping[str, Separation]) -> str:
    """Return precision-recall curves by name with their bands, and the precision of chance as dotted lines."""
    with drawing(4.4, 4.1) as drawn:
        axes = drawn.axes()
        for index, (name, found) in enumerate(list(curves.items())[:MOST_CURVES]):
            _curve(axes, found.pr, index, f"{shown_name(name)}: {found.auprc.value:.3f}", is_step=True)
            axes.axhline(found.prevalence, color=COLOURS[index], linestyle=":", linewidth=1)
        axes.set(xlabel="recall", ylabel="precision", aspect="equal")
        _unit_square(axes)
        axes.legend(fontsize=9, loc="best", title="AUPRC (dotted: chance)", title_fontsize=9)
    return drawn.svg


def _curve(axes: Axes, curve: Curve, index: int, label: str, *, is_step: bool = False) -> None:
    colour = COLOURS[index]
    step = "pre" if is_step else None
    axes.fill_between(curve.grid, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        curve.x,
        curve.y,
        color=colour,
        linestyle=LINES[index],
        linewidth=1.8,
        label=label,
        drawstyle=f"steps-{step}" if step else "default",
    )


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))


def calibration_plot(found: Calibration, event: str, things: str = "sequences") -> str:
    """Return observed frequency over predicted probability, with intervals, above how many fall in each bin.

    Args:
        found: What to draw.
        event: What the probability is of.
        things: What is counted.
    """
    event = shown_name(event, 24)
    with drawing(4.4, 4.4) as drawn:
        upper, lower = drawn.figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        upper.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1)
        means = [each.mean for each in found.bins]
        _points(upper, means, found.bins)
        upper.set(ylabel=f"part that is {event}")
        _unit_square(upper)
        lower.bar(
            [(each.start + each.end) / 2 for each in found.bins],
            [each.share.n for each in found.bins],
            width=0.9 * (found.bins[0].end - found.bins[0].start),
            color=COLOURS[0],
            alpha=0.55,
        )
        lower.set(xlabel=f"predicted probability of {event}", ylabel=things)
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    return drawn.svg


def shares(bins: Sequence[Bin], *, x_label: str, y_label: str, overall: float) -> str:
    """Return a share in strata of something, with intervals, and the share over all as a dotted line."""
    with drawing(4.4, 3.2) as drawn:
        axes = drawn.axes()
        places = list(range(len(bins)))
        axes.axhline(overall, color=SOFT, linestyle=":", linewidth=1.2)
        _points(axes, places, bins)
        axes.set_xticks(places, [_span(each) for each in bins])
        axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.6, len(bins) - 0.4))
        axes.set_ylim(bottom=0, top=min(1.0, 1.15 * max([overall, *(each.share.high for each in bins)])))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(visible=False, axis="x")
    return drawn.svg


def _points(axes: Axes, x: Sequence[float], bins: Sequence[Bin]) -> None:
    values = [each.share.value for each in bins]
    spans = [
        [each.share.value - each.share.low for each in bins],
        [each.share.high - each.share.value for each in bins],
    ]
    axes.errorbar(x, values, yerr=spans, fmt="o", color=COLOURS[0], markersize=5, linewidth=1.4, capsize=3)


def _span(each: Bin) -> str:
    low, high = (f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}" for value in (each.start, each.end))
    return low if low == high else f"{low}\nto {high}"


def epoch_curves(
    x: Sequence[float],
    losses: Mapping[str, Sequence[float]],
    metrics: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    chosen: float | None,
    is_log: bool = False,
) -> str:
    """Return losses and metrics over epochs (or settings) side by side, and which one was chosen.

    Args:
        x: Epochs, or what was tried.
        losses: By name, in nats.
        metrics: By name; NaN where one is not defined.
        x_label: What ``x`` is.
        chosen: The ``x`` whose weights were kept.
        is_log: Whether ``x`` is best seen on a logarithmic axis.
    """
    with drawing(9.0, 3.4) as drawn:
        panels = drawn.figure.subplots(1, 2)
        for axes, series, label in zip(
            panels, (losses, metrics), ("loss (nats)", "validation metric"), strict=True
        ):
            for index, (name, values) in enumerate(series.items()):
                axes.plot(
                    x,
                    values,
                    color=COLOURS[index],
                    marker=MARKERS[index],
                    markersize=4,
                    linestyle=LINES[index],
                    linewidth=1.6,
                    label=name,
                )
            if chosen is not None:
                axes.axvline(chosen, color=SOFT, linestyle=":", linewidth=1.2, label="chosen")
            axes.set(xlabel=x_label, ylabel=label)
            if is_log:
                axes.set_xscale("log")
            else:
                axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
            axes.legend(fontsize=9)
    return drawn.svg


def scores_by_class(groups: Mapping[str, NDArray[np.float64]], *, y_label: str) -> str:
    """Return a score in each class as an outline of its density, points, quartiles and median.

    What lies far outside the bulk of all scores is drawn at the ends of the axis, see `n_beyond`.

    Args:
        groups: Scores by class; the classes in the order in which they are drawn, each with at least one score.
        y_label: What the score is.
    """
    rng = np.random.default_rng(0)
    low_end, high_end = _limits(np.concatenate(list(groups.values())))
    with drawing(max(3.6, 1.3 * len(groups) + 1.4), 4.2) as drawn:
        axes = drawn.axes()
        for place, scores in enumerate(np.clip(each, low_end, high_end) for each in groups.values()):
            colour = COLOURS[place % len(COLOURS)]
            shown = scores
            if len(scores) > POINTS_IN_A_STRIP:
                shown = rng.choice(scores, POINTS_IN_A_STRIP, replace=False)
            half = _density(scores, shown)
            offset = rng.uniform(-1, 1, len(shown)) * 0.36 * half
            axes.scatter(place + offset, shown, s=5, color=colour, alpha=0.45, linewidths=0)
            low, middle, high = np.percentile(scores, [25, 50, 75])
            axes.plot([place, place], [low, high], color=INK, linewidth=4, solid_capstyle="butt", zorder=4)
            axes.scatter([place], [middle], s=34, color="white", edgecolors=INK, linewidths=1.4, zorder=5)
        names = [f"{shown_name(name, 24)}\nn = {len(scores):,}" for name, scores in groups.items()]
        name_places(axes, names, room=15)
        axes.set(ylabel=shown_name(y_label), xlim=(-0.6, len(groups) - 0.4))
        axes.grid(visible=False, axis="x")
    return drawn.svg


def n_beyond(scores: NDArray[np.float64]) -> int:
    """Return how many scores are so far from the bulk of them that drawings put them at the ends of their axis."""
    low, high = _limits(scores)
    return int(((scores < low) | (scores > high)).sum())


def _limits(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 0.5th and 99.5th percentile, and half of their distance more on either side."""
    low, high = np.percentile(scores, [0.5, 99.5])
    margin = 0.5 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _density(scores: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the density of scores at places, 1 at its highest: a histogram, smoothed, read between its bins."""
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return np.ones(len(at))
    counts, edges = np.histogram(scores, bins=60, range=(low, high))
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
    smooth = np.convolve(counts, kernel / kernel.sum(), mode="same")
    middle = (edges[:-1] + edges[1:]) / 2
    found: NDArray[np.float64] = np.interp(at, middle, smooth / smooth.max())
    return found


def scores_by_position(
    positions: NDArray[np.int64],
    scores: NDArray[np.float64],
    classes: Sequence[str],
    class_names: Sequence[str],
    *,
    x_label: str,
    y_label: str,
    longest_gap: int = 200,
) -> str:
    """Return scores along a contig, coloured and marked by class; stretches without variants are cut short.

    What lies far outside the bulk of the scores is drawn at the ends of the axis, see `n_beyond`.

    Args:
        positions: 1-based.
        scores: One a variant.
        classes: Class of each variant.
        class_names: In the order of colours; the last is drawn first, so that the first lies on top.
        x_label: What the positions are.
        y_label: What the score is.
        longest_gap: A gap between neighbouring variants of more bp is drawn as a break; where there would be more than
            `MOST_BREAKS`, only the longest gaps are.
    """
    order = np.argsort(positions, kind="stable")
    positions, scores = positions[order], np.clip(scores[order], *_limits(scores))
    named = np.array(classes)[order]
    gaps = np.diff(positions, prepend=positions[0])
    is_break = gaps > max(longest_gap, *np.sort(gaps)[::-1][MOST_BREAKS : MOST_BREAKS + 1], 0)
    # a break is as wide as a thirtieth of what is shown
    shown = int(gaps[~is_break].sum()) or 1
    x = np.cumsum(np.where(is_break, max(1, shown // 30), gaps)).astype(np.float64)
    with drawing(10.0, 3.6) as drawn:
        axes = drawn.axes()
        axes.axhline(0.0, color=SOFT, linewidth=0.8)
        for place, name in reversed(list(enumerate(class_names))):
            rows = named == name
            axes.scatter(
                x[rows],
                scores[rows],
                s=10,
                color=COLOURS[place % len(COLOURS)],
                marker=MARKERS[place % len(MARKERS)],
                alpha=0.6,
                linewidths=0,
                label=shown_name(name),
            )
        starts = np.flatnonzero(np.append(True, is_break[1:]))
        for start in starts[1:]:
            axes.axvline((x[start] + x[start - 1]) / 2, color=SOFT, linestyle=":", linewidth=0.9)
        _position_ticks(axes, x, positions, starts)
        axes.set(xlabel=shown_name(x_label, 100), ylabel=shown_name(y_label))
        axes.grid(visible=False, axis="x")
        handles, labels = axes.get_legend_handles_labels()
        drawn.figure.legend(
            handles[::-1],
            labels[::-1],
            fontsize=9,
            loc="outside upper left",
            ncols=len(class_names),
            markerscale=1.8,
        )
    return drawn.svg


def _position_ticks(
    axes: Axes, x: NDArray[np.float64], positions: NDArray[np.int64], starts: NDArray[np.int64]
) -> None:
    """Name the first position of each stretch, but for those too close to the one named before."""
    width = float(x[-1] - x[0]) or 1.0
    places: list[float] = []
    names: list[str] = []
    for start in starts:
        if not places or x[start] - places[-1] > width / 11:
            places.append(float(x[start]))
            names.append(f"{positions[start]:,}")
    if len(places) == 1:
        chosen = np.linspace(0, len(x) - 1, 5).astype(np.int64)
        places, names = list(map(float, x[chosen])), [f"{positions[each]:,}" for each in chosen]
    axes.set_xticks(places, names)


def predicted_and_measured(
    measured: NDArray[np.float64], predicted: NDArray[np.float64], *, name: str
) -> str:
    """Return predictions over measurements, at most `POINTS_IN_A_STRIP` drawn at random, with the line of equality."""
    rng = np.random.default_rng(0)
    rows = np.arange(len(measured))
    if len(rows) > POINTS_IN_A_STRIP:
        rows = rng.choice(rows, POINTS_IN_A_STRIP, replace=False)
    with drawing(4.4, 4.1) as drawn:
        axes = drawn.axes()
        low = float(min(measured.min(), predicted.min()))
        high = float(max(measured.max(), predicted.max()))
        axes.plot([low, high], [low, high], color=SOFT, linestyle=":", linewidth=1)
        axes.scatter(measured[rows], predicted[rows], s=9, color=COLOURS[0], alpha=0.45, linewidths=0)
        name = shown_name(name, 24)
        axes.set(xlabel=f"{name}, measured", ylabel=f"{name}, predicted")
    return drawn.svg
