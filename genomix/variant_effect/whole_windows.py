"""Scores that look at whole windows: distances of embeddings, and what a fine-tuned model says of REF and ALT."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genomix.checkpoint.native import LoadedModel, load_model
from genomix.heads.sequence_model import SequenceModel
from genomix.inference.embed import check_layer, embed
from genomix.inference.head_scores import meaning
from genomix.inference.limits import check_length
from genomix.variant_effect.contract import OF_WHOLE_WINDOWS, ScoreOptions, Status, VariantScore
from genomix.variant_effect.engine import Engine
from genomix.variant_effect.plan import AllelePlan, WindowPair
from genomix.variant_effect.window_set import WindowSet
from genomix_data.errors import CheckpointError, ConfigError, preview

Vector = NDArray[np.float64]


class WholeWindowScores:
    """Adds ``cos``, ``l2`` and ``head`` to scores.

    Args:
        engine: Of the language model.
        options: Which of them, of which layer, by which fine-tuned model.
        n_strands: Strands of each allele; a score is their mean.

    Raises:
        ConfigError: if there is no such layer or class.
        CheckpointError: if the fine-tuned model is none, or has a class for each base.
        SequenceTooLongError: if the window is too long for it.
    """

    def __init__(self, engine: Engine, options: ScoreOptions, n_strands: int) -> None:
        self._engine = engine
        self._n_strands = n_strands
        self._layer = options.layer
        self._wants_distances = not {"cos", "l2"}.isdisjoint(options.scores)
        self.are_wanted = not OF_WHOLE_WINDOWS.isdisjoint(options.scores)
        if self._wants_distances:
            check_layer(engine.model, options.layer)
        self._head = None if options.head is None else Head(options.head, options.head_class, engine)

    @property
    def head_model(self) -> LoadedModel | None:
        """The fine-tuned model, where its output is wanted."""
        return None if self._head is None else self._head.loaded

    def add(
        self, plans: Sequence[AllelePlan], windows: WindowSet, scores: Sequence[list[VariantScore]]
    ) -> None:
        """Put the distances and differences of the alleles into their scores.

        Args:
            plans: Of all alleles, one after the other.
            windows: All of which run whole.
            scores: Of the same alleles, record by record; changed in place.
        """
        wanted = [pair for plan in plans if plan.known is None for pair in plan.pairs]
        distances = self._distances(wanted, windows) if self._wants_distances else {}
        outputs = self._head.differences(wanted, windows) if self._head else {}
        flat = iter(plans)
        for of_record in scores:
            for number, score in enumerate(of_record):
                plan = next(flat)
                if score.status is not Status.OK or plan.known is not None:
                    continue
                found: dict[str, Any] = {}
                if distances:
                    both = np.mean([distances[pair.ref, pair.alt] for pair in plan.pairs], axis=0)
                    found |= {"cos": float(both[0]), "l2": float(both[1])}
                if outputs:
                    found["head"] = float(np.mean([outputs[pair.ref, pair.alt] for pair in plan.pairs]))
                of_record[number] = replace(score, **found)

    def _distances(
        self, pairs: Sequence[WindowPair], windows: WindowSet
    ) -> dict[tuple[int, int], tuple[float, float]]:
        numbers = list(dict.fromkeys(number for pair in pairs for number in (pair.ref, pair.alt)))
        letters = ((number, windows.windows[number].letters.decode()) for number in numbers)
        with self._engine.inference():
            vectors = {
                found.key: found.rows[0].astype(np.float64)
                for found in embed(
                    self._engine.model,
                    self._engine.tokenizer,
                    letters,
                    layer=self._layer,
                    pool="mean",
                    device=self._engine.device,
                )
            }
        return {(pair.ref, pair.alt): _distances(vectors[pair.ref], vectors[pair.alt]) for pair in pairs}


def _distances(ref: Vector, alt: Vector) -> tuple[float, float]:
    """Return 1 - cosine and the Euclidean distance of two vectors."""
    l2 = float(np.linalg.norm(alt - ref))
    norms = float(np.linalg.norm(ref) * np.linalg.norm(alt))
    if not norms:
        return 0.0 if not l2 else 1.0, l2
    # 1 - cos without the cancellation of nearly equal vectors: half the squared distance of their directions
    apart = alt / np.linalg.norm(alt) - ref / np.linalg.norm(ref)
    return float(apart @ apart) / 2, l2


class Head:
    """One output of a fine-tuned model for ALT windows, less that for REF windows.

    The probability of a class or a label, or a regression's number. A model of pairs (REF, ALT) gives the probability
    of a class for the pair, and nothing is subtracted.

    Args:
        folder: That ``genomix finetune`` wrote.
        class_name: The output; see `genomix.variant_effect.contract.ScoreOptions`.
        engine: Whose device and precision to use.
    """

    def __init__(self, folder: str, class_name: str | None, engine: Engine) -> None:
        self._engine = engine
        self.loaded = load_model(folder, device=engine.device)
        model = self.loaded.head_model
        if not isinstance(model, SequenceModel):
            raise CheckpointError(
                f"{folder!r} has a class for each base; a score needs one for a whole window (a classifier, a "
                "multi-label classifier, a regression or a classifier of variants)."
            )
        self._model = model
        self._column = _column(self.loaded, model, class_name)

    def differences(self, pairs: Sequence[WindowPair], windows: WindowSet) -> dict[tuple[int, int], float]:
        """Return the difference of each pair of windows by their numbers."""
        distinct = list(dict.fromkeys((pair.ref, pair.alt) for pair in pairs))
        if self._model.kind == "variant_classifier":
            return dict(zip(distinct, self._outputs(distinct, windows), strict=True))
        numbers = list(dict.fromkeys(number for pair in distinct for number in pair))
        outputs = dict(zip(numbers, self._outputs([(number,) for number in numbers], windows), strict=True))
        return {(ref, alt): outputs[alt] - outputs[ref] for ref, alt in distinct}

    def _outputs(self, inputs: Sequence[tuple[int, ...]], windows: WindowSet) -> list[float]:
        """Return the output for each input, one window or two side by side; those of one length run together."""
        found: list[float] = [0.0] * len(inputs)
        for some in self._batches(inputs, windows):
            letters = b"".join(windows.windows[number].letters for i in some for number in inputs[i])
            ids = torch.from_numpy(self.loaded.tokenizer.encode(letters).copy()).to(self._engine.device)
            ids = ids.reshape(len(some), len(inputs[some[0]]), -1)
            with self._engine.inference():
                logits = self._model(ids if ids.shape[1] == 2 else ids[:, 0])
            for i, value in zip(some, meaning(self._model, logits)[:, self._column].tolist(), strict=True):
                found[i] = value
        return found

    def _batches(self, inputs: Sequence[tuple[int, ...]], windows: WindowSet) -> Iterator[list[int]]:
        by_length: dict[int, list[int]] = {}
        for i, numbers in enumerate(inputs):
            by_length.setdefault(len(windows.windows[numbers[0]].letters), []).append(i)
        for length, alike in by_length.items():
            needed = length + self._model.prompt_len
            what = f"a window of {length:,} bp for {self.loaded.name}"
            check_length(self.loaded.config, needed, what, "Use a shorter --window.")
            size = self._engine.rows_for(length)
            yield from (alike[i : i + size] for i in range(0, len(alike), size))


def _column(loaded: LoadedModel, model: SequenceModel, wanted: str | None) -> int:
    """Return the number of the output that is compared."""
    info: dict[str, Any] = loaded.head_info or {}
    names = next(
        (info[key] for key in ("class_names", "label_names", "target_names", "names") if info.get(key)), None
    )
    known = [str(name) for name in names or range(model.n_outputs)]
    if wanted is None and len(known) == 1:
        return 0
    if wanted is None and len(known) == 2 and model.kind in ("classifier", "variant_classifier"):
        return 1
    if wanted in known:
        return known.index(wanted)
    asked = "no output was named" if wanted is None else f"there is no output {wanted!r}"
    raise ConfigError(
        f"{asked}; the model in {loaded.name!r} has {preview(known, 12)}. Name one with --head-class."
    )
