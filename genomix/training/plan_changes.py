"""What to change in a run that does not fit, and what each change gives."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.operators.recompute import Recompute
from genomix.training.config import PretrainConfig

COMFORT = 0.95
"""Of the memory that is available; more would leave nothing for what allocators cannot use."""

MOST_RANKS, SHORTEST = 512, 128
"""Processes and tokens of a window beyond which nothing is proposed."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a run takes: bytes that a process holds at most, and seconds of a batch (None if not known)."""

    peak: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """Settings to add, and what they give.

    Args:
        settings: As on the command line.
        peak: Bytes that a process will hold at most.
        tokens_per_second: Of all processes; None if not known.
        fits: Whether that is enough.
    """

    settings: str
    peak: int
    tokens_per_second: float | None
    fits: bool


def changes(
    config: PretrainConfig,
    outlook_of: Callable[[PretrainConfig], Outlook],
    available: int,
    *,
    has_own_memory: bool,
) -> tuple[Change, ...]:
    """Return what to change in a run that does not fit: of each kind of change the smallest that is enough, or the
    largest that there is. Where no single one is enough, batches that do everything again come last.

    Args:
        config: The run, its processes settled.
        outlook_of: What a changed run takes.
        available: Bytes that a process may have.
        has_own_memory: Whether every process has memory of its own, as GPUs do; more of them help only then.
    """
    found: list[Change] = []

    def look(settings: str, changed: PretrainConfig) -> Change:
        outlook = outlook_of(changed)
        tokens = changed.data.batch_size * changed.data.seqlen
        speed = None if outlook.seconds is None else tokens / outlook.seconds
        fits = outlook.peak <= COMFORT * available
        return Change(settings=settings, peak=outlook.peak, tokens_per_second=speed, fits=fits)

    def add_first_that_fits(candidates: Iterator[tuple[str, PretrainConfig]]) -> None:
        last = None
        for settings, changed in candidates:
            last = look(settings, changed)
            if last.fits:
                break
        if last is not None:
            found.append(last)

    add_first_that_fits(_smaller_batches(config))
    found += [look(*candidate) for candidate in _recomputing(config)]
    add_first_that_fits(_shorter_windows(config))
    if has_own_memory:
        add_first_that_fits(_more_context(config))
        add_first_that_fits(_more_shards(config))
    if not any(change.fits for change in found) and config.trainer.recompute != "block":
        again = _with(config, "trainer", recompute="block")
        add_first_that_fits((f"trainer.recompute=block {s}", c) for s, c in _smaller_batches(again))
    return tuple(found)


def _smaller_batches(config: PretrainConfig) -> Iterator[tuple[str, PretrainConfig]]:
    """Yield the same steps in smaller batches, the largest first."""
    parts = config.parallel.n_batch_parts
    n_windows = config.data.batch_size // parts
    for n in range(n_windows - 1, 0, -1):
        if n_windows % n == 0:
            accumulate = config.trainer.accumulate * (n_windows // n)
            changed = _with(_with(config, "data", batch_size=n * parts), "trainer", accumulate=accumulate)
            yield f"data.batch_size={n * parts} trainer.accumulate={accumulate}", changed


def _recomputing(config: PretrainConfig) -> Iterator[tuple[str, PretrainConfig]]:
    """Yield policies that keep less."""
    policies: tuple[Recompute, ...] = ("mlp", "mixer", "block")
    now = config.trainer.recompute
    for policy in policies:
        if now != "block" and policy != now:
            yield f"trainer.recompute={policy}", _with(config, "trainer", recompute=policy)


def _shorter_windows(config: PretrainConfig) -> Iterator[tuple[str, PretrainConfig]]:
    """Yield as many windows of half the length, a quarter, and so on."""
    seqlen = config.data.seqlen // 2
    while seqlen >= SHORTEST and seqlen % config.parallel.context == 0:
        overlap = min(config.data.eval_overlap, seqlen // 2)
        yield (
            f"data.seqlen={seqlen}",
            _with(config, "data", seqlen=seqlen, seqlen_warmup=None, eval_overlap=overlap),
        )
        seqlen //= 2


def _more_context(config: PretrainConfig) -> Iterator[tuple[str, PretrainConfig]]:
    """Yield more ranks that share each window."""
    shape, d_model = config.parallel, config.architecture.d_model
    context = 2 * shape.context
    while shape.n_processes // shape.context * context <= MOST_RANKS:
        can_be_split = config.data.seqlen % context == 0 and (
            not isinstance(config.architecture, HyenaDNAConfig) or d_model % context == 0
        )
        if can_be_split:
            changed = _with(config, "parallel", context=context)
            yield f"parallel.context={context} ({changed.parallel.n_processes} GPUs)", changed
        context *= 2


def _more_shards(config: PretrainConfig) -> Iterator[tuple[str, PretrainConfig]]:
    """Yield more ranks that share the parameters; of as many windows, or one for each rank."""
    shape = config.parallel
    if shape.strategy == "ddp":
        return
    shard = 2 * shape.shard
    while shape.n_processes // shape.shard * shard <= MOST_RANKS:
        parts = shape.n_batch_parts // shape.shard * shard
        batch_size = -(-config.data.batch_size // parts) * parts
        changed = _with(
            _with(config, "data", batch_size=batch_size, seqlen_warmup=None), "parallel", shard=shard
        )
        windows = "" if batch_size == config.data.batch_size else f" data.batch_size={batch_size}"
        yield f"parallel.shard={shard}{windows} ({changed.parallel.n_processes} GPUs)", changed
        shard *= 2


def _with(config: PretrainConfig, group: str, **settings: Any) -> PretrainConfig:
    return dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **settings)})
