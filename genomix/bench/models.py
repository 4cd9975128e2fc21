"""Forward, chunked prefill, decoding and training of whole models, random weights, next to nothing else on the device.

Rows have the form that `docs/benchmarks/models-h200.json` holds: model, what, L, B, tokens_per_s, ms, peak_gb, dtype.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from genomix.inference.causal import PREFILL_CHUNK, extend_in_chunks
from genomix.inference.decode import Decoder
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import build_model, get_model

Row = dict[str, Any]
REPEATS = 5


def random_model(name: str, *, device: str, dtype: torch.dtype) -> nn.Module:
    """Return a model of a registered shape with random weights, made on the device in its final dtype."""
    default = torch.get_default_dtype()
    torch.manual_seed(0)
    try:
        torch.set_default_dtype(dtype)
        with torch.device(device):
            model = build_model(get_model(name).config)
    finally:
        torch.set_default_dtype(default)
    for module_name, parameter in model.named_parameters():
        if module_name.endswith(("log_poles", "residues")):
            parameter.data = parameter.data.float()
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith("inv_freq"):
            owner = model.get_submodule(buffer_name.rsplit(".", 1)[0])
            owner.inv_freq = buffer.float()
    return model.eval()


def random_ids(model: Any, batch: int, seqlen: int, device: str) -> Tensor:
    """Return letters A, C, G, T as the ids that a model knows them by: those of HyenaDNA, or bytes."""
    generator = torch.Generator().manual_seed(1)
    letters = torch.tensor([7, 8, 9, 10] if isinstance(model, HyenaDNA) else [65, 67, 71, 84])
    return letters[torch.randint(4, (batch, seqlen), generator=generator)].to(device)


@torch.inference_mode()
def forward_rows(model: Any, name: str, lengths: list[int], *, device: str, dtype: str) -> Iterator[Row]:
    """Yield the time of a whole forward pass, logits of all positions included, for each length."""
    for seqlen in lengths:
        ids = random_ids(model, 1, seqlen, device)
        ms, peak = timed(partial(model, ids), device)
        yield _row(name, "forward", seqlen, 1, ms, seqlen, peak, dtype)


@torch.inference_mode()
def chunked_row(
    model: Any,
    name: str,
    seqlen: int,
    *,
    device: str,
    dtype: str,
    chunk: int = PREFILL_CHUNK,
    say: Callable[[str], None],
) -> tuple[Row, Tensor]:
    """Return the time of one pass over ``seqlen`` tokens in chunks, and the log-likelihood of each token."""
    ids = random_ids(model, 1, seqlen, device)
    _reset(device)
    started = time.perf_counter()
    log_likelihoods = torch.zeros(seqlen - 1)
    last: Tensor | None = None
    done = 0
    for hidden, _ in extend_in_chunks(model, ids, model.init_state(1, max_len=seqlen), chunk=chunk):
        logits = model.logits(hidden[0]).float().log_softmax(-1)
        targets = ids[0, done + 1 : done + 1 + len(logits)]
        found = logits[: len(targets)].gather(-1, targets[:, None])[:, 0]
        log_likelihoods[done : done + len(found)] = found.cpu()
        done += len(logits)
        last = logits
        if done % (16 * chunk) == 0:
            say(f"  {name}: {done:,} of {seqlen:,} tokens, {time.perf_counter() - started:.1f} s")
    assert last is not None
    _synchronize(device)
    ms = 1000 * (time.perf_counter() - started)
    return _row(
        name, "forward", seqlen, 1, ms, seqlen, _peak(device), dtype, mode=f"chunked-{chunk}"
    ), log_likelihoods


@torch.inference_mode()
def whole_log_likelihoods(model: Any, seqlen: int, *, device: str) -> Tensor:
    """Return the log-likelihood of each token of one whole forward pass."""
    ids = random_ids(model, 1, seqlen, device)
    hidden = model.hidden_states(ids)[0, :-1]
    pieces = [
        model.logits(part).float().log_softmax(-1).gather(-1, target[:, None])[:, 0].cpu()
        for part, target in zip(torch.split(hidden, 8192), torch.split(ids[0, 1:], 8192), strict=True)
    ]
    return torch.cat(pieces)


@torch.inference_mode()
def decode_row(
    model: Any, name: str, batch: int, *, device: str, dtype: str, prompt: int = 512, steps: int = 64
) -> Row:
    """Return the time of a step of cached decoding after a short prompt."""
    ids = random_ids(model, batch, prompt, device)
    hidden, state = model.extend(ids, model.init_state(batch, max_len=prompt + steps + 8))
    decoder = Decoder(model, state)
    _reset(device)
    times = []
    for _ in range(steps):
        _synchronize(device)
        started = time.perf_counter()
        tokens = model.logits(hidden[:, -1]).argmax(-1)
        hidden = decoder.feed(tokens)
        _synchronize(device)
        times.append(1000 * (time.perf_counter() - started))
    return _row(name, "decode", prompt, batch, statistics.median(times[8:]), batch, _peak(device), dtype)


def train_row(model: Any, name: str, seqlen: int, batch: int, *, device: str, dtype: str) -> Row:
    """Return the time of a whole training step: forward, loss of the next token, backward, AdamW.

    Weights and the optimizer's moments are in fp32; ``bf16`` means autocast.
    """
    ids = random_ids(model, batch, seqlen, device)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device.startswith("cuda"))

    def step() -> None:
        with torch.autocast(device_type=device.split(":")[0], dtype=torch.bfloat16, enabled=dtype == "bf16"):
            logits = model(ids)
        loss = nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten())
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    ms, peak = timed(step, device)
    model.eval()
    return _row(name, "train", seqlen, batch, ms, batch * seqlen, peak, dtype)


def timed(run: Callable[[], object], device: str) -> tuple[float, float]:
    """Return the median milliseconds of a call after two to warm up, and the peak memory in GB."""
    for _ in range(2):
        run()
    _reset(device)
    times = []
    for _ in range(REPEATS):
        _synchronize(device)
        started = time.perf_counter()
        run()
        _synchronize(device)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times), _peak(device)


def _row(
    name: str,
    what: str,
    seqlen: int,
    batch: int,
    ms: float,
    tokens: int,
    peak_gb: float,
    dtype: str,
    mode: str | None = None,
) -> Row:
    return {
        "model": name,
        "what": what,
        "mode": mode,
        "L": seqlen,
        "B": batch,
        "gpus": 1,
        "tokens_per_s": round(1000 * tokens / ms, 1),
        "ms": round(ms, 3),
        "variants_per_s": None,
        "peak_gb": round(peak_gb, 2),
        "dtype": dtype,
    }


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _reset(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else 0.0


WHAT = ("forward", "decode", "chunked", "train")


def measure_models(
    name: str,
    *,
    what: list[str],
    lengths: list[int],
    batches: list[int],
    device: str,
    dtype: str,
    say: Callable[[str], None],
) -> list[Row]:
    """Return the rows of one model.

    Args:
        name: Registered name; the weights are random.
        what: Of `WHAT`. ``forward`` and ``train`` take every length, ``chunked`` the longest, ``decode`` every batch.
        lengths: Tokens of a sequence.
        batches: Sequences of a batch; ``train`` takes the first.
        device: ``cpu`` or ``cuda``.
        dtype: ``bf16`` or ``fp32``; ``bf16`` is autocast over fp32 weights in training, and for HyenaDNA.
        say: Called with each row as it is measured.
    """
    rows: list[Row] = []

    def keep(row: Row) -> None:
        rows.append(row)
        say(str({key: value for key, value in row.items() if value is not None}))

    if set(what) - {"train"}:
        is_mixed = dtype == "bf16" and get_model(name).family == "hyenadna"
        in_half = dtype == "bf16" and not is_mixed
        model = random_model(name, device=device, dtype=torch.bfloat16 if in_half else torch.float32)
        if "forward" in what:
            for row in forward_rows(model, name, lengths, device=device, dtype=dtype):
                keep(row)
        if "decode" in what:
            for batch in batches:
                keep(decode_row(model, name, batch, device=device, dtype=dtype))
        if "chunked" in what:
            row, _ = chunked_row(model, name, max(lengths), device=device, dtype=dtype, say=say)
            keep(row)
        del model
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    if "train" in what:
        trained = random_model(name, device=device, dtype=torch.float32)
        for seqlen in lengths:
            keep(train_row(trained, name, seqlen, batches[0], device=device, dtype=dtype))
    return rows
