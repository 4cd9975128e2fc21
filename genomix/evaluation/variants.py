"""How well scores of variants separate classes that were measured or curated: areas with intervals, per class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray

from genomix.correlation import correlation, mean_ranks
from genomix.evaluation.labelled_variants import LabelledVariants
from genomix.evaluation.ranking import Separation, separation
from genomix.evaluation.resampling import N_RESAMPLES
from genomix_data.errors import ConfigError, InputFileError, preview

Direction = Literal["auto", "positive", "negative"]
LOWER_IS_POSITIVE = ("GMX_LLR", "GMX_Z", "GMX_RANK")
"""Fields with these beginnings fall as a variant gets less likely, and so rarer and more harmful."""
SMALLEST_GROUP = 5
"""A group is judged when it has so many positives and so many negatives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreEvaluation:
    """What one score is worth.

    Attributes:
        name: The field.
        higher_means: Whether higher scores are taken for ``positive`` or ``negative``.
        n_unscored: Labelled alleles without a score, which are left out.
        overall: Positives against negatives; None where one is absent.
        by_class: By name of a class: it against the other side, all of it.
        by_group: By name of a group: positives against negatives within it, where it has enough of both.
        n_small_groups: Groups that have not.
    """

    name: str
    higher_means: Literal["positive", "negative"]
    n_unscored: int
    overall: Separation | None
    by_class: dict[str, Separation]
    by_group: dict[str, Separation]
    n_small_groups: int

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as JSON holds it."""
        return {
            "higher_means": self.higher_means,
            "n_unscored": self.n_unscored,
            "overall": None if self.overall is None else self.overall.to_dict(),
            "by_class": {name: found.to_dict() for name, found in self.by_class.items()},
            "by_group": {name: found.to_dict() for name, found in self.by_group.items()},
            "n_groups_too_small": self.n_small_groups,
        }


@dataclass(frozen=True, kw_only=True)
class VariantEvaluation:
    """What scores say of labelled variants.

    Attributes:
        variants: All alleles of the file.
        label: The field of the classes.
        positive: Names of the positive classes.
        negative: Names of the negative ones.
        is_positive: Of each allele.
        is_negative: Of each allele.
        n_by_class: Alleles of each class, those that are on neither side as well.
        n_unlabelled: Alleles without a class.
        n_duplicates: Alleles on one of the sides that stand in the file more than once; each counts.
        scores: What each score is worth.
        spearman: Rank correlation of each two scores over the alleles that have both.
        n_resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    variants: LabelledVariants
    label: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    is_positive: Bool[np.ndarray, " n"]
    is_negative: Bool[np.ndarray, " n"]
    n_by_class: dict[str, int]
    n_unlabelled: int
    n_duplicates: int
    scores: tuple[ScoreEvaluation, ...]
    spearman: dict[str, float | None]
    n_resamples: int
    seed: int

    @property
    def n_left_out(self) -> int:
        """Alleles that have a class which is on neither side."""
        return int((~self.is_positive & ~self.is_negative).sum()) - self.n_unlabelled

    def sides(self, name: str | None = None) -> str:
        """Return which classes stand against which: all, or one of `ScoreEvaluation.by_class` and the other side."""
        if name is None:
            return f"{short_list(self.positive)} / {short_list(self.negative)}"
        if name in self.positive:
            return f"{name} / {short_list(self.negative)}"
        return f"{short_list(self.positive)} / {name}"

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as JSON holds it."""
        return {
            "source": self.variants.source,
            "n_alleles": len(self.variants),
            "label": self.label,
            "positive": list(self.positive),
            "negative": list(self.negative),
            "n_positive": int(self.is_positive.sum()),
            "n_negative": int(self.is_negative.sum()),
            "n_by_class": self.n_by_class,
            "n_unlabelled": self.n_unlabelled,
            "n_left_out": self.n_left_out,
            "n_duplicates": self.n_duplicates,
            "scores": {score.name: score.to_dict() for score in self.scores},
            "spearman": self.spearman,
            "bootstrap": {"resamples": self.n_resamples, "seed": self.seed, "level": 0.95},
        }


def evaluate_scores(
    variants: LabelledVariants,
    *,
    label: str,
    positive: Sequence[str],
    negative: Sequence[str] = (),
    higher_means: Direction = "auto",
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> VariantEvaluation:
    """Return how well each score of ``variants`` separates positive from negative classes.

    Args:
        variants: With at least one score.
        label: What messages call the field of the classes.
        positive: Names of the positive classes.
        negative: Names of the negative ones; all others if there are none.
        higher_means: Whether a higher score speaks for ``positive`` or ``negative``; ``auto``: negative for
            those of `LOWER_IS_POSITIVE`, whose low values are variants that the model finds unlikely, else positive.
        n_resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ConfigError: if a class is named that is not there, or stands on both sides.
        InputFileError: if no allele is positive, or none negative, or no labelled allele has a score.
    """
    counts = Counter(name for name in variants.labels if name is not None)
    if not counts:
        raise InputFileError(f"no variant of {variants.source} has a class in {label!r}. Check the field.")
    _check_classes(counts, positive, negative, label)
    chosen = tuple(negative) or tuple(sorted(set(counts) - set(positive)))
    is_positive = np.array([name in positive for name in variants.labels], dtype=bool)
    is_negative = np.array([name in chosen for name in variants.labels], dtype=bool)
    if not is_negative.any():
        raise InputFileError(
            f"every labelled variant of {variants.source} is positive ({preview(positive)} in {label!r}); an "
            "evaluation needs negatives as well."
        )
    labelled = is_positive | is_negative
    twice = Counter(allele for allele, kept in zip(variants.alleles, labelled, strict=True) if kept)
    return VariantEvaluation(
        variants=variants,
        label=label,
        positive=tuple(positive),
        negative=chosen,
        is_positive=is_positive,
        is_negative=is_negative,
        n_by_class=dict(counts.most_common()),
        n_unlabelled=sum(name is None for name in variants.labels),
        n_duplicates=sum(count for count in twice.values() if count > 1),
        scores=tuple(
            _one_score(
                variants,
                name,
                (is_positive, is_negative),
                (tuple(positive), chosen),
                higher_means,
                n_resamples,
                seed,
            )
            for name in variants.scores
        ),
        spearman=_rank_correlations(variants, labelled),
        n_resamples=n_resamples,
        seed=seed,
    )


def short_list(names: Sequence[str], limit: int = 4) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def _check_classes(
    counts: Counter[str], positive: Sequence[str], negative: Sequence[str], label: str
) -> None:
    for name in (*positive, *negative):
        if name not in counts:
            close = get_close_matches(name.lower(), [each.lower() for each in counts], n=1)
            meant = next((each for each in counts if close and each.lower() == close[0]), None)
            hint = f" Did you mean {meant!r}?" if meant else ""
            raise ConfigError(
                f"no variant has the class {name!r} in {label!r}; there are "
                f"{preview([f'{each} ({n:,})' for each, n in counts.most_common()], 12)}.{hint}"
            )
    if both := set(positive) & set(negative):
        raise ConfigError(f"the class {preview(sorted(both))} is named positive and negative; leave one out.")


def _one_score(
    variants: LabelledVariants,
    name: str,
    sides: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    side_names: tuple[tuple[str, ...], tuple[str, ...]],
    direction: Direction,
    n_resamples: int,
    seed: int,
) -> ScoreEvaluation:
    is_positive, is_negative = sides
    values = variants.scores[name]
    has_score = np.isfinite(values)
    if not (has_score & (is_positive | is_negative)).any():
        raise InputFileError(
            f"no labelled variant of {variants.source} has a score in {name!r}. Score the file first "
            "(genomix score), or give -f and -m."
        )
    falls = name.startswith(LOWER_IS_POSITIVE) if direction == "auto" else direction == "negative"
    ranked = -values if falls else values

    def within(rows: NDArray[np.bool_]) -> Separation | None:
        kept = rows & has_score & (is_positive | is_negative)
        return separation(ranked[kept], is_positive[kept], n_resamples=n_resamples, seed=seed)

    labels = np.array([each or "" for each in variants.labels], dtype=object)
    everything = np.ones(len(values), dtype=bool)
    by_class = {}
    for names, other in ((side_names[0], is_negative), (side_names[1], is_positive)):
        for each in names if len(names) > 1 else ():
            found = within(np.asarray(labels == each, dtype=bool) | other)
            if found is not None:
                by_class[each] = found
    by_group, n_small = {}, 0
    if variants.groups is not None:
        groups = np.array([each or "(none)" for each in variants.groups], dtype=object)
        for each in sorted(set(groups[has_score & (is_positive | is_negative)])):
            rows = np.asarray(groups == each, dtype=bool)
            n_of = [int((rows & has_score & side).sum()) for side in sides]
            found = within(rows) if min(n_of) >= SMALLEST_GROUP else None
            if found is None:
                n_small += 1
            else:
                by_group[str(each)] = found
    return ScoreEvaluation(
        name=name,
        higher_means="negative" if falls else "positive",
        n_unscored=int((~has_score & (is_positive | is_negative)).sum()),
        overall=within(everything),
        by_class=by_class,
        by_group=by_group,
        n_small_groups=n_small,
    )


def _rank_correlations(
    variants: LabelledVariants, labelled: Bool[np.ndarray, " n"]
) -> dict[str, float | None]:
    names = list(variants.scores)
    found: dict[str, float | None] = {}
    for first, one in enumerate(names):
        for other in names[first + 1 :]:
            x: Float64[np.ndarray, " n"] = variants.scores[one]
            y = variants.scores[other]
            rows = labelled & np.isfinite(x) & np.isfinite(y)
            value = correlation(mean_ranks(x[rows]), mean_ranks(y[rows])) if rows.sum() > 1 else None
            found[f"{one} / {other}"] = value
    return found
