"""The three methods, each of which gives a number for every letter that could stand at every position.

- ``ixg``, input x gradient: ``sum_b (x - x') dF/dx`` at the sequence; a first-order view, one backward pass.
- ``ig``, integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365): the gradient is the mean over the straight
  path from a baseline ``x'``. Its sum over all positions is ``F(x) - F(x')``, up to the error of the quadrature.
- ``ism``, in-silico mutagenesis: ``F`` of each single substitution, less ``F`` of the sequence. No gradients.

A gradient in a one-hot input has a part that no change of letters can follow, because the numbers at a position add up
to one. The baseline ``uniform`` (a quarter of each base) takes it away (Majdandzic et al. 2023, Genome Biology 24:109).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from genomix.attribution.letters import dinucleotide_shuffle, one_hot, other_strand
from genomix.attribution.targets import Target
from genomix_data.errors import ConfigError, GenomixError

Method = Literal["ixg", "ig", "ism"]
Baseline = Literal["uniform", "n", "zero", "shuffle"]
METHODS: tuple[str, ...] = get_args(Method)
BASELINES: tuple[str, ...] = get_args(Baseline)

BATCH_TOKENS = {"cpu": 1 << 13, "cuda": 1 << 18}
N_STEPS = 32
N_SHUFFLES = 10

Values = Float64[np.ndarray, "L 4"]
Advance = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each base of a sequence adds to an output.

    Attributes:
        letters: The sequence: A, C, G, T, N.
        scores: Of each base that is there. By gradients: what it adds to the output, compared with the baseline. By
            ``ism``: minus the mean change by the three substitutions. 0 at N with ``ism``.
        by_letter: For A, C, G, T. By gradients: the (mean) gradient, whatever stands there. By ``ism``: the change of
            the output by this substitution, 0 for the base itself; NaN at N.
        value: The output of the sequence.
        baseline_value: The output of the baseline, the mean of several; NaN with ``ism``.
        gap: Of ``ig``: ``sum(scores) - (value - baseline_value)``, the error of the quadrature; NaN of the others.
    """

    letters: str
    scores: Float64[np.ndarray, " L"]
    by_letter: Values
    value: float
    baseline_value: float
    gap: float


def attribute(
    target: Target,
    letters: str,
    method: Method = "ig",
    *,
    baseline: Baseline = "uniform",
    n_steps: int = N_STEPS,
    n_shuffles: int = N_SHUFFLES,
    seed: int = 0,
    both_strands: bool = False,
    device: str | torch.device = "cpu",
    batch_size: int | None = None,
    advance: Advance = lambda done: None,
) -> Attribution:
    """Return what each base of a sequence adds to an output.

    Args:
        target: The output; its model is on ``device``, in eval mode.
        letters: The sequence, either case; letters other than A, C, G, T are N.
        method: ``ixg``, ``ig`` or ``ism``.
        baseline: What gradients are compared with: ``uniform``, ``n`` (all N), ``zero`` (no input at all; with ``ixg``
            the plain input x gradient) or ``shuffle`` (the mean over sequences with the same dinucleotides).
        n_steps: Points on the path of ``ig``.
        n_shuffles: Baselines of ``shuffle``.
        seed: Of ``shuffle``.
        both_strands: Attribute the mean of the outputs of both strands.
        device: Where the model is.
        batch_size: Sequences at once; None: by memory.
        advance: Called with the number of sequences that went through the model since the last call.

    Raises:
        ConfigError: if an option is not known or out of range.
        GenomixError: if the sequence is shorter than two letters, or the model gives NaN.
    """
    if method not in METHODS:
        raise ConfigError(f"method={method!r}; expected one of {', '.join(METHODS)}.")
    if baseline not in BASELINES:
        raise ConfigError(f"baseline={baseline!r}; expected one of {', '.join(BASELINES)}.")
    if n_steps < 1 or n_shuffles < 1:
        raise ConfigError(f"n_steps={n_steps}, n_shuffles={n_shuffles}; expected at least 1 of each.")
    if len(letters) < 2:
        raise GenomixError(f"a sequence of {len(letters)} letters; an attribution needs at least 2.")
    x = one_hot(letters).to(device)
    size = batch_size or max(1, BATCH_TOKENS["cuda" if x.is_cuda else "cpu"] // len(letters))
    run = _Runner(target, size, both_strands=both_strands, advance=advance)
    clean = "".join("ACGTN"[place] for place in x.argmax(dim=-1).tolist())
    if method == "ism":
        found = _mutagenesis(run, x, clean)
    else:
        baselines = _baselines(baseline, x, clean, n_shuffles, seed)
        found = _gradients(run, x, clean, baselines, n_steps if method == "ig" else 0)
    if not np.isfinite(found.scores).all():
        raise GenomixError(
            "the model gave NaN or an infinity. Run it in float32; otherwise its weights are damaged."
        )
    return found


class _Runner:
    """Outputs and gradients of many sequences, in batches."""

    def __init__(self, target: Target, batch_size: int, *, both_strands: bool, advance: Advance) -> None:
        self._target = target
        self.batch_size = batch_size
        self._both = both_strands
        self._advance = advance

    def _outputs(self, x: Tensor) -> Tensor:
        if not self._both:
            return self._target(x)
        return (self._target(x) + self._target(other_strand(x))) / 2

    def values(self, x: Float[Tensor, "B L 5"]) -> Float64[np.ndarray, " B"]:
        """Return the output of each sequence."""
        found = []
        with torch.inference_mode():
            for part in torch.split(x, self.batch_size):
                found.append(self._outputs(part).double().cpu().numpy())
                self._advance(len(part))
        return np.concatenate(found)

    def gradient(self, x: Float[Tensor, "B L 5"], weights: Float[Tensor, " B"]) -> Float[Tensor, "L 5"]:
        """Return the weighted sum of the gradients of sequences, fp64."""
        total = torch.zeros(x.shape[1:], dtype=torch.float64, device=x.device)
        for part, weight in zip(
            torch.split(x, self.batch_size), torch.split(weights, self.batch_size), strict=True
        ):
            leaf = part.clone().requires_grad_()
            with torch.enable_grad():
                outputs = self._outputs(leaf)
                (each,) = torch.autograd.grad(outputs.sum(), leaf)
            total += (each.double() * weight[:, None, None]).sum(dim=0)
            self._advance(len(part))
        return total


def _gradients(
    run: _Runner, x: Tensor, letters: str, baselines: Float[Tensor, "K L 5"], n_steps: int
) -> Attribution:
    """Return input x gradient, or with steps integrated gradients, as the mean over the baselines."""
    scores = torch.zeros(len(letters), dtype=torch.float64, device=x.device)
    gradients = torch.zeros(len(letters), x.shape[1], dtype=torch.float64, device=x.device)
    nodes, weights = np.polynomial.legendre.leggauss(max(n_steps, 1))
    along = torch.from_numpy((nodes + 1) / 2).to(x)
    share = torch.from_numpy(weights / 2).to(x.device)
    at_x = None if n_steps else run.gradient(x[None], torch.ones(1, device=x.device))
    for baseline in baselines:
        step = x - baseline
        if at_x is None:
            path = baseline + along[:, None, None] * step
            gradient = run.gradient(path, share)
        else:
            gradient = at_x
        scores += (step.double() * gradient).sum(dim=-1) / len(baselines)
        gradients += gradient / len(baselines)
    value = float(run.values(x[None])[0])
    baseline_value = float(run.values(baselines).mean())
    gap = float(scores.sum()) - (value - baseline_value) if n_steps else float("nan")
    return Attribution(
        letters, scores.cpu().numpy(), gradients[:, :4].cpu().numpy(), value, baseline_value, gap
    )


def _mutagenesis(run: _Runner, x: Tensor, letters: str) -> Attribution:
    places = [(place, base) for place, letter in enumerate(letters) for base in range(4) if letter != "N"]
    changes = [(place, base) for place, base in places if "ACGT"[base] != letters[place]]
    by_letter = np.where(np.array([letter == "N" for letter in letters])[:, None], np.nan, np.zeros((1, 4)))
    value = float(run.values(x[None])[0])
    step = max(1, run.batch_size)
    for begin in range(0, len(changes), step):
        some = changes[begin : begin + step]
        mutants = x.repeat(len(some), 1, 1)
        rows = torch.arange(len(some), device=x.device)
        where = torch.tensor([place for place, _ in some], device=x.device)
        mutants[rows, where] = 0.0
        mutants[rows, where, torch.tensor([base for _, base in some], device=x.device)] = 1.0
        for (place, base), found in zip(some, run.values(mutants), strict=True):
            by_letter[place, base] = found - value
    scores = -np.nan_to_num(by_letter).sum(axis=1) / 3
    return Attribution(letters, scores, by_letter, value, float("nan"), float("nan"))


def _baselines(name: Baseline, x: Tensor, letters: str, n_shuffles: int, seed: int) -> Float[Tensor, "K L 5"]:
    if name == "zero":
        return torch.zeros_like(x)[None]
    if name == "n":
        return one_hot("N" * len(letters)).to(x)[None]
    if name == "shuffle":
        shuffled = [one_hot(dinucleotide_shuffle(letters, seed + number)) for number in range(n_shuffles)]
        return torch.stack(shuffled).to(x)
    uniform = torch.full_like(x, 0.25)
    uniform[:, 4] = 0.0
    # N stays N: there is nothing else that it could have been
    is_n = x[:, 4] == 1
    uniform[is_n] = x[is_n]
    return uniform[None]
