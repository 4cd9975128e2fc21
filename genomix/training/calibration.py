"""What a batch costs on this machine, from a few steps on random bases at small sizes.

Sizes grow until a step is long enough to be measured well, or the size that was asked for is reached. The steps are
those of training: the same loss, optimizer, precision and loop. Lines through them are in `genomix.training.costs`.
"""

import dataclasses
import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.operators.recompute import Recompute
from genomix.training.config import PretrainConfig
from genomix.training.costs import Costs, Sample, telling_samples
from genomix.training.feed import SameBatch
from genomix.training.footprint import logit_bytes
from genomix.training.loop import fit
from genomix.training.machine_memory import held_bytes, peak_bytes, reset_peak
from genomix.training.task import LanguageModelTask
from genomix.training.tensor_bytes import TensorBytes
from genomix_data.lm_batch import LMBatch


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long is measured.

    Args:
        warm: Steps that do not count: kernels are compiled, chosen and captured in them.
        measured: Steps that do.
        enough: Seconds that a step takes when sizes need not grow any further.
        tokens: Of the first sample.
    """

    warm: int
    measured: int
    enough: float
    tokens: int


PACES = {
    "cpu": Pace(warm=1, measured=2, enough=1.0, tokens=256),
    "cuda": Pace(warm=5, measured=6, enough=0.15, tokens=4096),
}

MEMORY_SHARE = 0.4
"""Of the memory that is available, for calibration; the next size is twice the last."""


def calibrate(
    config: PretrainConfig,
    model: HyenaDNA | StripedHyena2,
    policy: Recompute,
    *,
    n_windows: int,
    seqlen: int,
    device: torch.device,
    available: int | None,
    pace: Pace,
) -> Costs:
    """Return what batches cost, from steps on a model of which nothing is needed afterwards.

    Args:
        config: What to run.
        model: On its device; it is trained on random bases.
        policy: What is computed again in the backward pass.
        n_windows: Windows in a batch that will be asked for; no larger one is measured.
        seqlen: Tokens of each, likewise.
        device: Where it trains.
        available: Bytes that the process may have; None if that is not known.
        pace: How long is measured.

    Raises:
        KeyboardInterrupt: if a signal came.
        torch.OutOfMemoryError: if not even the smallest batch fits into the GPU.
    """
    model.recompute = policy
    samples: list[Sample] = []

    def sample(n_windows: int, seqlen: int) -> Sample:
        samples.append(measure(config, model, n_windows, seqlen, pace, device))
        return samples[-1]

    def may_grow(last: Sample) -> bool:
        growth = last.peak - samples[0].peak
        fits = available is None or last.peak + max(growth, 0) * 2 <= MEMORY_SHARE * available
        return fits and last.seconds < pace.enough

    try:
        length = min(seqlen, pace.tokens)
        last = sample(1, length)
        while length < seqlen and (may_grow(last) or len(samples) < 2):
            length = min(2 * length, seqlen)
            last = sample(1, length)
        n = 1
        while n < n_windows and (may_grow(last) or n == 1):
            n = min(2 * n, n_windows)
            last = sample(n, length)
    except torch.OutOfMemoryError:
        if len(samples) < 2:
            raise
    if device.type == "cpu" and samples[-1].size != (n_windows, seqlen):
        telling = telling_samples(samples)
        samples = [
            dataclasses.replace(each, tensors=count_tensors(config, model, *each.size))
            if each in telling
            else each
            for each in samples
        ]
    return Costs(model.config, tuple(samples))


def measure(
    config: PretrainConfig,
    model: HyenaDNA | StripedHyena2,
    n_windows: int,
    seqlen: int,
    pace: Pace,
    device: torch.device,
) -> Sample:
    """Return what a batch of one size costs.

    Raises:
        KeyboardInterrupt: if a signal came.
    """
    accumulate = _n_batches(config)
    steps = pace.warm + pace.measured
    clock = _Clock(pace.warm, steps, device)
    reset_peak(device)
    _train(config, model, n_windows, seqlen, steps, device, clock.look)
    peak = peak_bytes(device)
    _clean_up(model)
    return Sample(n_windows=n_windows, seqlen=seqlen, seconds=clock.seconds / accumulate, peak=peak)


def count_tensors(
    config: PretrainConfig, model: HyenaDNA | StripedHyena2, n_windows: int, seqlen: int
) -> int:
    """Return the bytes of tensors that there are at most while a batch of one size is trained on, on a CPU.

    Raises:
        KeyboardInterrupt: if a signal came.
    """
    with TensorBytes() as counted:
        _train(config, model, n_windows, seqlen, 2, torch.device("cpu"), lambda loss: None)
    _clean_up(model)
    most: int = counted.peak
    return most


def _train(
    config: PretrainConfig,
    model: HyenaDNA | StripedHyena2,
    n_windows: int,
    seqlen: int,
    steps: int,
    device: torch.device,
    on_step: Callable[[torch.Tensor], None],
) -> None:
    accumulate = _n_batches(config)
    short = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, accumulate=accumulate))
    task = LanguageModelTask.of_run(short, model)
    batch = random_batch(config, n_windows, seqlen)
    data = SameBatch(batch, steps * accumulate, pin_memory=device.type == "cuda")
    if fit(task, data, trainer=short.trainer, device=device, on_step=on_step) is not None:
        raise KeyboardInterrupt


def _n_batches(config: PretrainConfig) -> int:
    """Return the batches of a step: two stand for more, as the second finds the gradients of the first."""
    return min(2, config.trainer.accumulate)


def _clean_up(model: HyenaDNA | StripedHyena2) -> None:
    model.zero_grad()
    gc.collect()  # Lightning's parts refer to each other, and hold the optimizer


def scoring_bytes(
    model: HyenaDNA | StripedHyena2, config: PretrainConfig, n_tokens: int, device: torch.device
) -> int:
    """Return what a forward pass of validation takes beside the model, on a GPU, for so many tokens at once."""
    seqlen, precision = config.data.seqlen, config.trainer.score_precision
    sizes = [min(n_tokens, 1 << 14), min(n_tokens, 1 << 15)]
    taken = []
    was_training = model.training
    model.eval()
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, precision == "bf16-mixed"):
        for size in sizes:
            length = min(seqlen, size)
            ids = random_batch(config, -(-size // length), length).inputs.to(device)
            reset_peak(device)
            before = held_bytes(device)
            hidden = model.hidden_states(ids).float()
            taken.append((ids.numel(), peak_bytes(device) - before))
            del hidden
    model.train(was_training)
    (few, at_few), (many, at_many) = taken
    slope = (at_many - at_few) / (many - few) if many > few else at_many / many
    return int(at_many + slope * (n_tokens - many)) + logit_bytes(model.config, n_tokens)


def random_batch(config: PretrainConfig, n_windows: int, seqlen: int) -> LMBatch:
    """Return windows of random bases, with weights where the settings have them."""
    generator = torch.Generator().manual_seed(config.trainer.seed)
    acgt = torch.tensor(config.tokenizer.acgt_ids, dtype=torch.uint8)
    ids = acgt[torch.randint(4, (n_windows, seqlen + 1), generator=generator)]
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    if config.data.soft_mask_weight == 1.0:
        return LMBatch(inputs, targets)
    return LMBatch(inputs, targets, torch.full((n_windows, seqlen), config.data.soft_mask_weight))


@dataclass
class _Clock:
    """Times steps after the first ``warm``: their mean on a GPU, which runs ahead of its host; on a CPU the fastest,
    as others use it too.
    """

    warm: int
    last: int
    device: torch.device
    seconds: float = math.inf
    _step: int = 0
    _began: float = 0.0

    def look(self, loss: torch.Tensor) -> None:
        """Count a step."""
        self._step += 1
        is_cuda = self.device.type == "cuda"
        if self._step < self.warm or (is_cuda and self.warm < self._step < self.last):
            return
        if is_cuda:
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._step > self.warm:
            n = self.last - self.warm if is_cuda else 1
            self.seconds = min(self.seconds, (now - self._began) / n)
        self._began = now
