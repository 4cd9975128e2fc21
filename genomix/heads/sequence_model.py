"""A backbone, pooling over real positions, and a small head: one row of outputs a sequence."""

from typing import Any, Literal, TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genomix.heads.backbone import Backbone, backbone_of, hidden_states
from genomix.heads.pooling import N_WINDOWS, Pooling, SequencePooling
from genomix.heads.strands import N_IDS, reverse_complement_ids
from genomix.models.families import AnyConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.operators.recompute import Recompute

HeadKind = Literal["classifier", "multilabel", "regressor", "token_classifier", "variant_classifier"]
"""What outputs mean; how a checkpoint names its head."""

PROMPT_STD = 0.02
"""Of the initial soft prompt, as published (Nguyen et al. 2023)."""


class HeadOptions(TypedDict, total=False):
    """What the constructors of all pooled heads take beside the backbone and the number of outputs."""

    pooling: Pooling
    dropout: float
    n_windows: int
    hidden: int
    rc_invariant: bool
    prompt_len: int
    prompt_dropout: float


class SequenceModel(nn.Module):
    """Token ids to outputs; those of a sequence are the same alone and in any right-padded batch.

    The parameters are named as in the official standalone release: ``backbone.*`` and ``head.output_transform.*``.
    Children say what the outputs mean.

    Args:
        backbone: A language model of either family, whose backbone is taken over (not copied), or a backbone.
        n_outputs: Outputs.
        pooling: How positions become one vector; see `genomix.heads.pooling`.
        dropout: Between pooling and the linear map.
        n_windows: Parts of the pooling ``window``.
        hidden: Width of a hidden layer in the head; 0 for none.
        rc_invariant: Give the head the mean of the pooled states of both strands, in training and after it, so that a
            sequence and its reverse complement have the same outputs. It costs two passes.
        prompt_len: Trained vectors that stand before the embedding of every sequence; they are not pooled.
        prompt_dropout: Part of the prompt's features that a training step does not see.
    """

    kind: HeadKind
    size_name: str
    """Name of the number of outputs, for people: ``n_classes``."""

    def __init__(
        self,
        backbone: HyenaDNA | Backbone,
        n_outputs: int,
        *,
        pooling: Pooling = "mean",
        dropout: float = 0.0,
        n_windows: int = N_WINDOWS,
        hidden: int = 0,
        rc_invariant: bool = False,
        prompt_len: int = 0,
        prompt_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if n_outputs < 1:
            raise ValueError(f"{self.size_name} is {n_outputs}; it must be at least 1.")
        self.backbone = backbone_of(backbone)
        self.n_outputs = n_outputs
        self.pooling: Pooling = pooling
        self.pooler = SequencePooling(self.config.d_model, pooling, n_windows=n_windows)
        self.head = PooledHead(self._head_features(), n_outputs, dropout, hidden)
        self.rc_invariant = rc_invariant
        if rc_invariant:
            # Part of the weights, so that a checkpoint is whole without its tokenizer.
            self.register_buffer("complement", torch.zeros(N_IDS, dtype=torch.uint8))
        self.prompt_dropout = prompt_dropout
        self.prompt = (
            nn.Parameter(PROMPT_STD * torch.randn(prompt_len, self.config.d_model)) if prompt_len else None
        )

    @property
    def config(self) -> AnyConfig:
        """Config of the backbone."""
        config: AnyConfig = self.backbone.config
        return config

    @property
    def recompute(self) -> Recompute:
        """What the blocks of the backbone compute again in the backward pass."""
        policy: Recompute = self.backbone.recompute
        return policy

    @property
    def prompt_len(self) -> int:
        """Positions that the soft prompt takes from the longest input."""
        return 0 if self.prompt is None else len(self.prompt)

    def _head_features(self) -> int:
        return self.pooler.out_features

    def forward(
        self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B C"]:
        """Return the outputs of the head.

        Args:
            ids: Token ids, padded on the right.
            lengths: Real tokens of each sequence; None for all.

        Raises:
            SequenceTooLongError: if there are more tokens than the model takes.
        """
        outputs: Tensor = self.head(self.embed(ids, lengths))
        return outputs

    def embed(
        self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B E"]:
        """Return the pooled hidden states, the input of the head."""
        if not self.rc_invariant:
            return self._pooled(ids, lengths)
        other = reverse_complement_ids(ids, lengths, self.get_buffer("complement"))
        both = self._pooled(torch.cat([ids, other]), None if lengths is None else lengths.repeat(2))
        return both.view(2, len(ids), -1).mean(dim=0)

    def _pooled(self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None) -> Float[Tensor, "B E"]:
        prompt = None
        if self.prompt is not None:
            prompt = F.dropout(self.prompt, self.prompt_dropout, self.training)
        pooled: Tensor = self.pooler(hidden_states(self.backbone, ids, prompt), lengths)
        return pooled

    def head_settings(self) -> dict[str, Any]:
        """Return what rebuilds the head, ready for JSON."""
        settings: dict[str, Any] = {
            "kind": self.kind,
            self.size_name: self.n_outputs,
            "pooling": self.pooling,
            "dropout": self.head.dropout.p,
        }
        if self.pooling == "window":
            settings["n_windows"] = self.pooler.n_windows
        if self.head.hidden is not None:
            settings["hidden"] = self.head.hidden.out_features
        if self.rc_invariant:
            settings["rc_invariant"] = True
        if self.prompt is not None:
            settings |= {"prompt_len": self.prompt_len, "prompt_dropout": self.prompt_dropout}
        return settings


class PooledHead(nn.Module):
    """Dropout and one linear map, initialized by PyTorch's default as in the official code.

    Args:
        in_features: Width of the pooled hidden states.
        n_outputs: Outputs.
        dropout: Before each linear map.
        hidden: Width of a hidden layer with GELU before the output; 0 for none.
    """

    def __init__(self, in_features: int, n_outputs: int, dropout: float = 0.0, hidden: int = 0) -> None:
        super().__init__()
        self.in_features = in_features
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(in_features, hidden) if hidden else None
        self.output_transform = nn.Linear(hidden or in_features, n_outputs)

    def forward(self, pooled: Float[Tensor, "*shape E"]) -> Float[Tensor, "*shape C"]:
        """Return the outputs."""
        # States may come in bf16, from a model that is stored in it; the head is as precise as its weights.
        pooled = pooled.to(self.output_transform.weight.dtype)
        if self.hidden is not None:
            pooled = F.gelu(self.hidden(self.dropout(pooled)))
        outputs: Tensor = self.output_transform(self.dropout(pooled))
        return outputs
