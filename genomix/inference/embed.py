"""What a model makes of sequences: hidden states of any layer, pooled, in bounded memory for any length."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from torch import Tensor, nn

from genomix.inference.batches import Batch, batches
from genomix.inference.causal import PREFILL_CHUNK, extend_in_chunks
from genomix.models.families import AnyLanguageModel
from genomix.models.stripedhyena2.model import ResidualStream
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import ConfigError, preview
from genomix_data.tokenizers import Tokenizer

Key = TypeVar("Key")
Strand = Literal["forward", "both"]


@dataclass(frozen=True, slots=True)
class Pool:
    """How positions become rows: ``mean`` or ``last`` (one row), windows of ``width`` (their means), or none.

    >>> Pool.parse("window:128"), Pool.parse("none")
    (Pool(kind='window', width=128), Pool(kind='window', width=1))
    """

    kind: Literal["mean", "last", "window"]
    width: int = 0

    @classmethod
    def parse(cls, text: str) -> "Pool":
        """Return the pooling of ``mean``, ``last``, ``none`` or ``window:N``.

        Raises:
            ConfigError: if it is another text.
        """
        if text == "none":
            return cls("window", 1)
        if text == "mean":
            return cls("mean")
        if text == "last":
            return cls("last")
        name, _, width = text.partition(":")
        if name == "window" and width.isdecimal() and int(width) > 0:
            return cls("window", int(width))
        raise ConfigError(f"pooling {text!r} is not known; there are mean, last, none and window:N (tokens).")

    def bounds(self, length: int) -> list[tuple[int, int]]:
        """Return the positions that each row stands for: 0-based, half-open; the last window may be short."""
        if self.kind == "last":
            return [(length - 1, length)]
        width = length if self.kind == "mean" else self.width
        return [(start, min(start + width, length)) for start in range(0, length, width)]


@dataclass(frozen=True, slots=True)
class Embedding(Generic[Key]):
    """Rows of one sequence.

    Attributes:
        key: What the caller knows it by.
        rows: ``(rows, D)`` in fp32; with both strands ``(rows, 2 D)``, the forward one first.
        bounds: The positions that each row stands for, 0-based and half-open, on the forward strand. With ``last``,
            the other strand's row is of its own last token, which is the first position.
    """

    key: Key
    rows: Float32[np.ndarray, "rows D"]
    bounds: list[tuple[int, int]]


def embed(
    model: AnyLanguageModel,
    tokenizer: Tokenizer,
    sequences: Iterable[tuple[Key, str]],
    *,
    layer: str | None = None,
    pool: str = "mean",
    strand: Strand = "forward",
    batch_size: int | None = None,
    device: str | torch.device = "cpu",
    chunk: int = PREFILL_CHUNK,
) -> Iterator[Embedding[Key]]:
    """Yield the embedding of each sequence, in their order.

    Args:
        model: In eval mode, on ``device``.
        tokenizer: Of the model.
        sequences: What the caller knows each by, and its letters; read as they are needed.
        layer: Name of a module, as in ``model.named_modules()``; by default the states after the last norm.
        pool: ``mean``, ``last``, ``none`` or ``window:N``.
        strand: ``both`` appends what the reverse complement gives, at the same positions.
        batch_size: Sequences at once; by memory if None. No result depends on it.
        device: Where the model is.
        chunk: Tokens at a time; memory is bounded by it, and results do not depend on it beyond rounding.

    Raises:
        ConfigError: if the layer, the pooling or the strand is not known.
        SequenceTooLongError: if a sequence is longer than the model takes.
    """
    how = Pool.parse(pool)
    if strand not in ("forward", "both"):
        raise ConfigError(f"strand {strand!r} is not known; it is 'forward' or 'both'.")
    check_layer(model, layer)

    def pairs() -> Iterator[tuple[tuple[Key, str], str]]:
        return (((key, letters), letters) for key, letters in sequences)

    for batch in batches(pairs(), tokenizer, batch_size=batch_size):
        rows = _pooled(model, batch, layer, how, device, chunk, is_reversed=False)
        if strand == "both":
            others = [(key, reverse_complement(letters)) for key, letters in batch.keys]
            other = next(batches(others, tokenizer, batch_size=len(others)))
            backwards = _pooled(model, other, layer, how, device, chunk, is_reversed=True)
            rows = [np.concatenate(both, axis=1) for both in zip(rows, backwards, strict=True)]
        for (key, _), found, length in zip(batch.keys, rows, batch.lengths, strict=True):
            yield Embedding(key, found, how.bounds(length))


def check_layer(model: nn.Module, layer: str | None) -> None:
    """Raise a ConfigError unless the model has a module of this name, with names that may have been meant."""
    names = [name for name, _ in model.named_modules() if name]
    if layer is not None and layer not in names:
        close = difflib.get_close_matches(layer, names, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"It has {preview(names, 12)}."
        raise ConfigError(f"the model has no layer {layer!r}. {hint}")


@torch.inference_mode()
def _pooled(
    model: AnyLanguageModel,
    batch: Batch[Any],
    layer: str | None,
    pool: Pool,
    device: str | torch.device,
    chunk: int,
    *,
    is_reversed: bool,
) -> list[NDArray[np.float32]]:
    """Return the rows of each sequence; those of a reversed one in the order of the forward positions."""
    ids = batch.ids.to(device)
    sums: list[Tensor] = []
    begin = 0
    with _captured(model, layer) as captured:
        for hidden, _ in extend_in_chunks(
            model, ids, model.init_state(len(ids), max_len=ids.shape[1]), chunk=chunk
        ):
            states = hidden if layer is None else captured()
            if states.shape[:2] != hidden.shape[:2]:
                raise ConfigError(
                    f"layer {layer!r} gives {tuple(states.shape)}, which is not one vector a token."
                )
            if not sums:
                sums = [
                    torch.zeros(len(pool.bounds(length)), states.shape[2], dtype=torch.float64, device=device)
                    for length in batch.lengths
                ]
            for row, length in enumerate(batch.lengths):
                _accumulate(sums[row], states[row], begin, length, pool, is_reversed)
            begin += hidden.shape[1]
    counts = [np.array([[end - start] for start, end in pool.bounds(length)]) for length in batch.lengths]
    return [(total.cpu().numpy() / n).astype(np.float32) for total, n in zip(sums, counts, strict=True)]


def _accumulate(
    total: Float[Tensor, "rows D"],
    states: Float[Tensor, "C D"],
    begin: int,
    length: int,
    pool: Pool,
    is_reversed: bool,
) -> None:
    n_new = min(len(states), length - begin)
    if n_new <= 0:
        return
    if pool.kind == "last":
        if begin + n_new == length:
            total[0] = states[n_new - 1]
        return
    positions = torch.arange(begin, begin + n_new, device=states.device)
    if is_reversed:
        positions = length - 1 - positions
    width = length if pool.kind == "mean" else pool.width
    total.index_add_(0, positions // width, states[:n_new].to(total.dtype))


@contextmanager
def _captured(model: nn.Module, layer: str | None) -> Iterator[Callable[[], Tensor]]:
    """Yield a function that returns the latest output of a layer, whether it was called or extended."""
    latest: list[Tensor] = []

    def keep(output: Any) -> None:
        found = output[0] if isinstance(output, tuple) else output
        latest[:] = [found.total if isinstance(found, ResidualStream) else found]

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        keep(output)

    if layer is None:
        yield lambda: latest[0]
        return
    module: Any = model.get_submodule(layer)
    handle = module.register_forward_hook(hook)
    extend = getattr(module, "extend", None)
    if extend is not None:

        def extend_and_keep(*args: Any, **kwargs: Any) -> Any:
            output = extend(*args, **kwargs)
            keep(output)
            return output

        module.extend = extend_and_keep

    def read() -> Tensor:
        if not latest:
            raise ConfigError(
                f"layer {layer!r} is not run on its own; choose one of its parts or its parent."
            )
        return latest.pop()

    try:
        yield read
    finally:
        handle.remove()
        if extend is not None:
            del module.extend
