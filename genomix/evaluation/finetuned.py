"""What a fine-tuned model's test says, with intervals: areas, rates of each class, calibration, where errors are."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomix.correlation import correlation, mean_ranks
from genomix.evaluation.confusion import ConfusionRates, confusion_rates
from genomix.evaluation.proportions import Bin, Calibration, calibration, share_by_quantile
from genomix.evaluation.ranking import Estimate, Separation, bootstrap_estimate, separation
from genomix.evaluation.resampling import N_RESAMPLES
from genomix.evaluation.run_record import CLASS_KINDS, RunRecord

_WORK = 200_000_000
"""Rows that all resamples together look at: a test of single bases has millions, and needs few resamples."""
_FEWEST = 100

STRATA = {
    "length": "length (bp)",
    "gc": "GC",
    "soft_masked": "soft-masked part",
    "repeated_words": "repeated words",
    "n": "unknown bases",
}
"""Columns of a composition, and what they are called."""


@dataclass(frozen=True, kw_only=True)
class TestEvaluation:
    """What a test says of a model.

    Attributes:
        n: Rows judged: sequences, or of heads of single bases, bases that have a class.
        overall: Accuracy and the like, of classes; None of other heads.
        separations: By name of a class or label: it against the rest; of two classes, the second alone. Those of which
            the test has only one side are left out.
        calibration: Of the second of two classes; of more, of the class that was predicted; None of other heads.
        without_near_copies: `separations` over the rows whose sequences have no near copy in training.
        n_without_near_copies: How many rows those are; None where it is not known.
        errors: By column of a composition: part of the rows that are wrong, in strata.
        constant: Columns of the composition that are the same in all sequences, and so have no strata.
        correlations: By name of a target and a measure: of a regression.
        resamples: Of the bootstrap.
    """

    __test__ = False  # pytest takes the name for a test's

    n: int
    overall: ConfusionRates | None = None
    separations: dict[str, Separation] = field(default_factory=dict)
    calibration: Calibration | None = None
    without_near_copies: dict[str, Separation] = field(default_factory=dict)
    n_without_near_copies: int | None = None
    errors: dict[str, tuple[Bin, ...]] = field(default_factory=dict)
    constant: tuple[str, ...] = ()
    correlations: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    resamples: int = N_RESAMPLES

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as JSON holds it."""
        overall = self.overall
        return {
            "n": self.n,
            "overall": None
            if overall is None
            else {
                "accuracy": overall.accuracy.to_dict(),
                "balanced_accuracy": overall.balanced_accuracy.to_dict(),
                "mcc": overall.mcc.to_dict(),
                "macro_f1": overall.macro_f1.to_dict(),
            },
            "classes": [] if overall is None else [each.to_dict() for each in overall.classes],
            "areas": {name: found.to_dict() for name, found in self.separations.items()},
            "n_without_near_copies": self.n_without_near_copies,
            "areas_without_near_copies": {
                name: found.to_dict() for name, found in self.without_near_copies.items()
            },
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "errors": {name: [each.to_dict() for each in bins] for name, bins in self.errors.items()},
            "the_same_in_all_sequences": list(self.constant),
            "correlations": {
                target: {name: each.to_dict() for name, each in found.items()}
                for target, found in self.correlations.items()
            },
            "bootstrap": {"resamples": self.resamples, "level": 0.95},
        }


def evaluate_run(run: RunRecord, *, n_resamples: int | None = None, seed: int = 0) -> TestEvaluation:
    """Return what the test of a run says.

    Args:
        run: Of `read_run`.
        n_resamples: Of the bootstrap; None: 1,000, and fewer of a test of more than 200,000 rows, at least 100.
        seed: Of the bootstrap.
    """
    if n_resamples is None:
        n_resamples = int(np.clip(_WORK // max(len(run.scores), 1), _FEWEST, N_RESAMPLES))
    if run.kind in CLASS_KINDS:
        return _of_classes(run, n_resamples, seed)
    if run.kind == "multilabel":
        return _of_labels(run, n_resamples, seed)
    return _of_numbers(run, n_resamples, seed)


def _of_classes(run: RunRecord, n_resamples: int, seed: int) -> TestEvaluation:
    rows = run.labels >= 0
    labels, scores = run.labels[rows], run.scores[rows]
    n_classes = len(run.names)
    predicted = scores.argmax(axis=1)
    confusion = np.bincount(labels * n_classes + predicted, minlength=n_classes**2)
    shown = [1] if n_classes == 2 else list(range(n_classes))
    is_clean = None if run.near_copy is None else ~run.near_copy[rows]
    by_sequence = None
    if run.kind == "token_classifier":
        _, place = np.unique(run.sequence[rows], return_inverse=True)
        cells = (place * n_classes + labels) * n_classes + predicted
        by_sequence = np.bincount(cells, minlength=(int(place.max()) + 1) * n_classes**2).reshape(
            -1, n_classes, n_classes
        )

    def separations(kept: NDArray[np.bool_]) -> dict[str, Separation]:
        found = {
            run.names[c]: separation(
                scores[kept, c],
                labels[kept] == c,
                clusters=None if by_sequence is None else run.sequence[rows][kept],
                n_resamples=n_resamples,
                seed=seed,
            )
            for c in shown
        }
        return {name: each for name, each in found.items() if each is not None}

    certain = scores[:, 1] if n_classes == 2 else scores.max(axis=1)
    happened = labels == 1 if n_classes == 2 else predicted == labels
    errors, constant = _errors(run, run.sequence[rows], predicted != labels)
    return TestEvaluation(
        n=int(rows.sum()),
        overall=confusion_rates(
            confusion.reshape(n_classes, n_classes),
            run.names,
            by_sequence=by_sequence,
            n_resamples=n_resamples,
            seed=seed,
        ),
        separations=separations(np.ones(len(labels), dtype=bool)),
        calibration=calibration(certain, happened),
        without_near_copies={} if is_clean is None or is_clean.all() else separations(is_clean),
        n_without_near_copies=None if is_clean is None else int(is_clean.sum()),
        errors=errors,
        constant=constant,
        resamples=n_resamples,
    )


def _errors(
    run: RunRecord, sequence: NDArray[np.int64], is_wrong: NDArray[np.bool_]
) -> tuple[dict[str, tuple[Bin, ...]], tuple[str, ...]]:
    if run.composition is None:
        return {}, ()
    found: dict[str, tuple[Bin, ...]] = {}
    constant = []
    for name in STRATA:
        values = getattr(run.composition, name)[sequence]
        bins = share_by_quantile(values, is_wrong) if len(values) else ()
        if len(bins) < 2:
            constant.append(name)
        else:
            found[name] = bins
    return found, tuple(constant)


def _of_labels(run: RunRecord, n_resamples: int, seed: int) -> TestEvaluation:
    assert run.targets is not None
    targets, scores = run.targets, run.scores

    def separations(kept: NDArray[np.bool_]) -> dict[str, Separation]:
        found = {}
        for place, name in enumerate(run.names):
            rows = kept & np.isfinite(targets[:, place])
            each = separation(
                scores[rows, place], targets[rows, place] == 1, n_resamples=n_resamples, seed=seed
            )
            if each is not None:
                found[name] = each
        return found

    is_clean = None if run.near_copy is None else ~run.near_copy
    return TestEvaluation(
        n=len(scores),
        separations=separations(np.ones(len(scores), dtype=bool)),
        without_near_copies={} if is_clean is None or is_clean.all() else separations(is_clean),
        n_without_near_copies=None if is_clean is None else int(is_clean.sum()),
        resamples=n_resamples,
    )


def _of_numbers(run: RunRecord, n_resamples: int, seed: int) -> TestEvaluation:
    assert run.targets is not None
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, Estimate]] = {}
    for place, name in enumerate(run.names):
        rows = np.isfinite(run.targets[:, place])
        x, y = run.scores[rows, place], run.targets[rows, place]
        if len(y) < 2:
            continue
        drawn = [rng.integers(0, len(y), len(y)) for _ in range(n_resamples)]
        found[name] = {
            measure: bootstrap_estimate(value(x, y), np.array([value(x[rows], y[rows]) for rows in drawn]))
            for measure, value in (
                ("Pearson", _correlation),
                ("Spearman", _rank_correlation),
                ("R2", _explained),
                ("mean squared error", _squared),
            )
        }
    is_clean = None if run.near_copy is None else ~run.near_copy
    return TestEvaluation(
        n=len(run.scores),
        n_without_near_copies=None if is_clean is None else int(is_clean.sum()),
        correlations=found,
        resamples=n_resamples,
    )


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return correlation(x, y) or 0.0


def _rank_correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return correlation(mean_ranks(x), mean_ranks(y)) or 0.0


def _explained(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    variance = float(y.var())
    return 1 - float(np.square(x - y).mean()) / variance if variance else 0.0


def _squared(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.square(x - y).mean())
