"""A training step on one process and on all that a launcher has started: how much faster, in how much memory, and
whether it is the same step.

Every process first makes the step alone, with no word to the others, then all make it together on a mesh. Batches are
random ids; nothing reads data.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from genomix.models.families import AnyConfig, AnyLanguageModel, build_language_model
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.registry import get_model
from genomix.operators.recompute import Recompute
from genomix.parallel.processes import Ranks, joined
from genomix.parallel.shape import MeshShape
from genomix.parallel.step import ParallelStep, clip_gradients
from genomix.training.lm_loss import next_token_sums
from genomix.training.machine_memory import peak_bytes, reset_peak
from genomix_data.errors import ConfigError
from genomix_data.lm_batch import LMBatch

Axis = Literal["data", "shard", "context"]
Row = dict[str, Any]

WARM = 2
"""Steps before those that count."""
USABLE = 0.97
"""Part of a GPU's memory that a run can have."""


@dataclass(frozen=True, kw_only=True)
class ParallelCase:
    """What is measured.

    Args:
        model: Registered name; weights are random, dropout is off.
        axis: ``data`` and ``shard``: every process has ``rows`` windows of its own, and whole parameters or a part of
            them. ``context``: all processes share ``rows`` windows, and the parameters if ``shards_parameters``.
        lengths: Tokens of a window, a row of results each.
        rows: Windows in a batch, see ``axis``.
        dtype: ``fp32``, or ``bf16`` autocast.
        device: ``cpu`` or ``cuda``.
        steps: To measure, after `WARM` others.
        recompute: See `genomix.operators.recompute`.
        shards_parameters: With ``context``.
        alone: Whether one process is measured too, whose memory a large model may exceed.
    """

    model: str
    axis: Axis
    lengths: tuple[int, ...]
    rows: int = 1
    dtype: str = "bf16"
    device: str = "cpu"
    steps: int = 3
    recompute: Recompute = "auto"
    shards_parameters: bool = False
    alone: bool = True

    def shape(self, n: int) -> MeshShape:
        """Return how ``n`` processes are arranged.

        Raises:
            ConfigError: if there is one only.
        """
        if n < 2:
            raise ConfigError(
                "genomix bench parallel compares one process with several. Start it with torchrun: torchrun "
                "--nproc-per-node 2 -m genomix_cli.main bench parallel ..."
            )
        if self.axis == "context":
            return MeshShape(data=1, context=n, strategy="fsdp" if self.shards_parameters else "auto")
        return MeshShape(data=1, shard=n) if self.axis == "shard" else MeshShape(data=n)

    @property
    def config(self) -> AnyConfig:
        """Architecture that is run: without dropout, and long enough."""
        config = get_model(self.model).config
        if isinstance(config, HyenaDNAConfig):
            longest = max(*self.lengths, config.l_max)
            return replace(config, embed_dropout=0.0, resid_dropout=0.0, l_max=longest)
        return config


def measure_parallel(case: ParallelCase, n: int, *, say: Callable[[str], None]) -> list[Row]:
    """Return a row for one process and one for all, for each length; on every process the same rows.

    Args:
        case: What to measure.
        n: Processes that were started.
        say: Called on the first process as each row is known.

    Raises:
        ConfigError: if there is one process, or they cannot be arranged so.
    """
    rows: list[Row] = []
    with joined(case.shape(n), torch.device(case.device)) as ranks:
        for seqlen in case.lengths:
            found = [_alone(case, ranks, seqlen)] if case.alone else []
            found.append(_together(case, ranks, seqlen))
            if len(found) == 2 and "ms" in found[0]:
                one, all_ = found
                all_["times_as_fast"] = round(all_["tokens_per_s"] / one["tokens_per_s"], 3)
                all_["loss_differs_by"] = abs(all_["loss"] - one["loss"]) / one["loss"]
            for row in found:
                if ranks.is_first:
                    say(_told(row))
            rows += found
        # with `auto` memory is not a line: more is computed again as windows grow
        if ranks.device.type == "cuda" and len(case.lengths) > 1 and case.recompute != "auto":
            _add_longest(rows, torch.cuda.get_device_properties(ranks.device).total_memory / 1e9 * USABLE)
    return rows


def _alone(case: ParallelCase, ranks: Ranks, seqlen: int) -> Row:
    """Return the row of one process: all make the step at the same time, each for itself."""
    with _cleaned(ranks):
        model = _model(case, ranks.device)
        batch = _batch(case, ranks, seqlen)

        def loss() -> tuple[Tensor, Tensor]:
            total, count = _sums(model, batch)
            mean = total / count
            return mean, mean.detach()

        try:
            ms, value, peak = _timed(case, ranks, model, loss)
        except torch.OutOfMemoryError:
            return {**_about(case, 1, seqlen), "error": "out of memory"}
        return _row(case, 1, seqlen, ms, value, peak)


def _together(case: ParallelCase, ranks: Ranks, seqlen: int) -> Row:
    with _cleaned(ranks):
        model = _model(case, ranks.device)
        batch = _batch(case, ranks, seqlen)
        parallel = ParallelStep(model, ranks, _sums)
        ms, value, peak = _timed(case, ranks, model, lambda: parallel.loss(batch))
        return _row(case, ranks.n, seqlen, ms, value, peak)


def _sums(model: Any, part: LMBatch) -> tuple[Tensor, Tensor]:
    return next_token_sums(model, model.hidden_states(part.inputs), part.targets, part.weights)


def _model(case: ParallelCase, device: torch.device) -> AnyLanguageModel:
    torch.manual_seed(0)
    with device:
        model = build_language_model(case.config)
    model.recompute = case.recompute
    return model


def _batch(case: ParallelCase, ranks: Ranks, seqlen: int) -> LMBatch:
    """Return windows of A, C, G, T as HyenaDNA numbers them; the same on all ranks that share them."""
    generator = torch.Generator().manual_seed(0 if case.axis == "context" else ranks.rank)
    ids = torch.randint(7, 11, (case.rows, seqlen + 1), generator=generator, dtype=torch.uint8)
    ids = ids.to(ranks.device)
    return LMBatch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())


def _timed(
    case: ParallelCase, ranks: Ranks, model: AnyLanguageModel, loss_of: Callable[[], tuple[Tensor, Tensor]]
) -> tuple[float, float, float]:
    """Return the milliseconds of a step (of the slowest rank), the loss of the first, and the peak memory in GB."""
    device = ranks.device
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device.type == "cuda")

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=case.dtype == "bf16"):
            loss, mean = loss_of()
        torch.autograd.backward(loss)
        clip_gradients(list(model.parameters()), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return mean

    first = step().double()
    for _ in range(WARM - 1):
        step()
    _synchronize(device)
    ranks.wait()
    started = time.perf_counter()
    for _ in range(case.steps):
        step()
    _synchronize(device)
    seconds = (time.perf_counter() - started) / case.steps
    # alone, ranks of `data` and `shard` have windows of their own: what all of them together would have
    losses, times, peaks = (_of_all(value) for value in (float(first), seconds, peak_bytes(device) / 1e9))
    return 1000 * max(times), sum(losses) / len(losses), max(peaks)


def _of_all(value: float) -> list[float]:
    """Return the values of all processes."""
    found = [torch.zeros(1, dtype=torch.float64) for _ in range(dist.get_world_size())]
    dist.all_gather(found, torch.tensor([value], dtype=torch.float64))  # on the CPU, by gloo
    return [float(each) for each in found]


@contextmanager
def _cleaned(ranks: Ranks) -> Iterator[None]:
    gc.collect()
    reset_peak(ranks.device)
    ranks.wait()
    yield
    gc.collect()


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _about(case: ParallelCase, n: int, seqlen: int) -> Row:
    return {
        "model": case.model,
        "axis": case.axis,
        "processes": n,
        "L": seqlen,
        "B": case.rows,
        "dtype": case.dtype,
        "recompute": case.recompute,
    }


def _row(case: ParallelCase, n: int, seqlen: int, ms: float, loss: float, peak_gb: float) -> Row:
    windows = case.rows * (1 if case.axis == "context" else n)
    return {
        **_about(case, n, seqlen),
        "ms": round(ms, 2),
        "tokens_per_s": round(windows * seqlen / ms * 1000, 1),
        "peak_gb": round(peak_gb, 3),
        "loss": loss,
    }


def _told(row: Row) -> str:
    who = f"  {row['processes']} process{'es' if row['processes'] > 1 else ''}, {row['L']:,} tokens: "
    if "error" in row:
        return who + str(row["error"])
    more = (
        f", {row['times_as_fast']} x, loss differs by {row['loss_differs_by']:.1e}"
        if "times_as_fast" in row
        else ""
    )
    return f"{who}{row['ms']:,.1f} ms, {row['tokens_per_s']:,.0f} tokens/s, {row['peak_gb']:.1f} GB{more}"


def _add_longest(rows: list[Row], memory_gb: float) -> None:
    """Add to each row the window that would fill a GPU, on the line through its two longest ones; and to those of
    several processes how many times that of one it is."""
    of_one: int | None = None
    for n in sorted({row["processes"] for row in rows}):
        mine = [row for row in rows if row["processes"] == n and "peak_gb" in row]
        if len(mine) < 2:
            continue
        before, last = sorted(mine, key=lambda row: row["L"])[-2:]
        slope = (last["peak_gb"] - before["peak_gb"]) / (last["L"] - before["L"])
        if slope <= 0:
            continue
        longest = int(last["L"] + (memory_gb - last["peak_gb"]) / slope)
        of_one = longest if n == 1 else of_one
        for row in mine:
            row["longest"] = longest
            if n > 1 and of_one is not None:
                row["times_as_long"] = round(longest / of_one, 3)
