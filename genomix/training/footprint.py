"""What a model under training weighs: its parts, its weights and optimizer, and what it keeps of a batch.

The first two are exact and cost nothing, as the model is built without memory for its weights. The last is an estimate
from what blocks were measured to keep, for a warning before the first step; `genomix.training.plan` measures it.
"""

from dataclasses import dataclass

import torch
from torch import nn

from genomix.models.families import AnyConfig, build_language_model, logit_rows
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.operators.recompute import Recompute, n_kept_blocks
from genomix.training.config import PretrainConfig
from genomix.training.lm_loss import LOGITS_AT_ONCE

BYTES_A_LOGIT = 14
"""Logits, their log-softmax and the gradients of both, in the precisions that they have."""

BLOCK_INPUT_BYTES = 6
"""What a block that is computed again keeps for each feature of each token: the stream, and what is added to it."""

PART_KEPT = {"mixer": 0.5, "mlp": 0.5}
"""Of what a block keeps, about what is left where that part of it is computed again."""

PRECISION_FACTOR = {"bf16-mixed": 1.0, "32-true": 1.8}
"""Of what a block keeps, relative to autocast."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parameters of a language model by what they are for.

    Args:
        embedding: Of tokens, and of logits where that is a matrix of its own.
        mixers: Hyena operators and attention.
        mlps: MLPs of the blocks.
        norms: What is left.
    """

    embedding: int
    mixers: int
    mlps: int
    norms: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.embedding + self.mixers + self.mlps + self.norms


@dataclass(frozen=True, kw_only=True)
class StateBytes:
    """What a process holds of a model under training whatever the batch is, in bytes.

    Args:
        weights: In fp32.
        gradients: Likewise.
        optimizer: Both moments of AdamW.
        average: The moving average of the weights, if there is one.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.average


def weightless(config: AnyConfig) -> nn.Module:
    """Return a language model whose parameters have shapes and no memory; of any size in a moment."""
    with torch.device("meta"):
        return build_language_model(config)


def parts_of(model: nn.Module) -> Parts:
    """Return the numbers of parameters of a language model."""
    counts = {"embedding": 0, "mixers": 0, "mlps": 0, "norms": 0}
    for name, parameter in model.named_parameters():
        counts[_part_of(name)] += parameter.numel()
    return Parts(**counts)


def state_bytes(n_parameters: int, config: PretrainConfig) -> StateBytes:
    """Return what each process of a run holds of its model."""
    shape = config.parallel
    n_shares = shape.shard * shape.context if shape.shards_parameters else 1
    weights = -(-4 * n_parameters // n_shares)
    has_average = config.trainer.ema_decay is not None
    return StateBytes(
        weights=weights, gradients=weights, optimizer=2 * weights, average=weights if has_average else 0
    )


def tokens_at_once(config: PretrainConfig) -> int:
    """Return how many tokens of a batch each process has."""
    data, shape = config.data, config.parallel
    return -(-data.batch_size // shape.n_batch_parts) * -(-data.seqlen // shape.context)


def saved_bytes(config: AnyConfig) -> int:
    """Return what a block keeps for its backward pass, for each feature of each token under autocast."""
    if isinstance(config, HyenaDNAConfig):
        from genomix.models.hyenadna.model import SAVED_BYTES

        return SAVED_BYTES
    from genomix.models.stripedhyena2.model import SAVED_BYTES as SAVED_BYTES_2

    return SAVED_BYTES_2


def part_kept_by_auto(config: AnyConfig, n_tokens: int, total_memory: int | None) -> float:
    """Return the part of the blocks that ``trainer.recompute=auto`` keeps whole; all where there is no GPU."""
    if total_memory is None:
        return 1.0
    n_features = n_tokens * config.d_model
    return n_kept_blocks(n_features, config.n_layers, saved_bytes(config), total_memory) / config.n_layers


def logit_bytes(config: AnyConfig, n_tokens: int) -> int:
    """Return what the logits of a batch take: never more than `LOGITS_AT_ONCE` of them exist together."""
    return BYTES_A_LOGIT * min(n_tokens * logit_rows(config), LOGITS_AT_ONCE)


def estimated_activations(
    config: AnyConfig, n_tokens: int, policy: Recompute, precision: str, total_memory: int | None
) -> int:
    """Return about what the activations of a batch take at most, in bytes, from what blocks were measured to keep.

    Args:
        config: The architecture.
        n_tokens: Tokens that a process has of it.
        policy: What is computed again.
        precision: ``bf16-mixed`` or ``32-true``.
        total_memory: Of the GPU; None for a CPU.
    """
    n_features = n_tokens * config.d_model
    whole = saved_bytes(config) * PRECISION_FACTOR[precision] * n_features
    left = BLOCK_INPUT_BYTES * n_features
    if policy == "auto":
        kept = part_kept_by_auto(config, n_tokens, total_memory)
        each = kept * whole + (1 - kept) * left
    else:
        each = {"none": whole, "block": left}.get(policy) or PART_KEPT[policy] * whole
    # beside what all blocks keep comes what one of them needs while its gradients are computed
    return int(config.n_layers * each + whole + logit_bytes(config, n_tokens))


def shortfall(
    config: PretrainConfig, model: nn.Module, precision: str, *, available: int, total_memory: int
) -> str | None:
    """Return what to say before the first step of a run that will probably not fit into a GPU; None if it will.

    Args:
        config: What to run, its processes settled.
        model: What is trained.
        precision: Of training.
        available: Bytes of the GPU that this process may have.
        total_memory: Bytes of the GPU.
    """
    policy = config.trainer.recompute
    state, activations = needed_bytes(config, model, policy, precision, total_memory)
    if state + activations <= available:
        return None
    return (
        f"this will probably not fit: {in_words(state, activations)}, and the GPU has {gigabytes(available)} free. "
        f"{what_to_change(policy, state, available)}"
    )


def needed_bytes(
    config: PretrainConfig, model: nn.Module, policy: Recompute, precision: str, total_memory: int | None
) -> tuple[int, int]:
    """Return what a process needs for weights and optimizer, and about what for its part of a batch.

    Args:
        config: What to run, its processes settled.
        model: What is trained.
        policy: What is computed again.
        precision: Of training.
        total_memory: Of the GPU; None for a CPU.
    """
    state = state_bytes(sum(parameter.numel() for parameter in model.parameters()), config).total
    n_tokens = tokens_at_once(config)
    return state, estimated_activations(config.architecture, n_tokens, policy, precision, total_memory)


def in_words(state: int, activations: int) -> str:
    """Return for people what `needed_bytes` gave."""
    return f"{gigabytes(state)} of weights and optimizer and about {gigabytes(activations)} for a batch"


def what_to_change(policy: Recompute, state: int, available: int) -> str:
    """Return what to do about a run that does not fit."""
    if state > 0.9 * available:
        change = "Share them among several GPUs (parallel.shard=2 or more)"
    else:
        change = "Take a smaller data.batch_size with trainer.accumulate, " + (
            "shorter windows, or more parallel.context"
            if policy in ("block", "auto")
            else "trainer.recompute=block, or more parallel.context"
        )
    return f"{change}; `genomix plan` with the same settings says what each of them gives"


def gigabytes(n_bytes: float) -> str:
    """Return a size for people, such as ``1.2 GB``."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"


def _part_of(name: str) -> str:
    if "embedding" in name or "lm_head" in name:
        return "embedding"
    return "mixers" if ".mixer." in name else "mlps" if ".mlp." in name else "norms"
