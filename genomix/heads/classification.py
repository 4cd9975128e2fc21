"""The official sequence decoder: pool hidden states over positions, then one linear map."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

DecoderMode = Literal["last", "first", "pool", "sum", "ragged"]


class SequenceDecoder(nn.Module):
    """Hidden states to outputs, as in the official fine-tuning code and the standalone release.

    Args:
        d_model: Width of the hidden states.
        d_output: Outputs, one for each class.
        l_output: Positions kept; None keeps all, 0 keeps one and drops the axis.
        mode: ``last`` or ``first`` positions; ``pool`` and ``sum`` take running means and sums over positions and keep
            the last ones; ``ragged`` keeps up to the longest of the lengths.
        use_lengths: Restrict each sequence to its length first, so that right padding does not count.

    For new work `SequenceClassifier` is simpler: it never counts padding.
    """

    def __init__(
        self,
        d_model: int,
        d_output: int,
        *,
        l_output: int | None = None,
        mode: DecoderMode = "last",
        use_lengths: bool = False,
    ) -> None:
        super().__init__()
        if mode not in ("last", "first", "pool", "sum", "ragged"):
            raise ValueError(f"mode is {mode!r}; it must be 'last', 'first', 'pool', 'sum' or 'ragged'.")
        if mode == "ragged" and use_lengths:
            raise ValueError(
                "mode 'ragged' keeps the padding up to the longest sequence; it excludes use_lengths."
            )
        self.squeeze = l_output == 0
        self.l_output = 1 if l_output == 0 else l_output
        self.mode = mode
        self.use_lengths = use_lengths
        self.output_transform = nn.Linear(d_model, d_output)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        lengths: Int[Tensor, " B"] | None = None,
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B *l_output C"]:
        """Return the outputs of the kept positions.

        Args:
            x: Hidden states.
            lengths: Real positions of each sequence, from the left; needed by ``use_lengths`` and ``ragged``.
            mask: With ``pool``: keep the running mean at position ``sum(mask) - 1``. Right padding only: the official
                code, and so this one, gives the wrong positions for left padding.

        Raises:
            ValueError: if lengths are needed and absent.
        """
        if (self.use_lengths or self.mode == "ragged") and lengths is None:
            raise ValueError(f"mode {self.mode!r} of this decoder needs the lengths of the sequences.")
        if self.use_lengths:
            assert lengths is not None
            pooled = torch.stack(
                [self._restrict(row[:length], None) for row, length in zip(x, lengths.tolist(), strict=True)]
            )
        elif self.mode == "pool" and mask is not None:
            last = mask.sum(dim=-1) - 1
            pooled = _running_mean(x)[torch.arange(len(x), device=x.device), last].unsqueeze(1)
        else:
            pooled = self._restrict(x, lengths)
        if self.squeeze:
            pooled = pooled.squeeze(-2)
        outputs: Tensor = self.output_transform(pooled)
        return outputs

    def _restrict(
        self, x: Float[Tensor, "*B L D"], lengths: Int[Tensor, " B"] | None
    ) -> Float[Tensor, "*B M D"]:
        keep = x.shape[-2] if self.l_output is None else self.l_output
        if self.mode == "first":
            return x[..., :keep, :]
        if self.mode == "ragged":
            assert lengths is not None
            return x[..., : int(lengths.max()), :]
        if self.mode == "pool":
            x = _running_mean(x)
        elif self.mode == "sum":
            x = x.cumsum(dim=-2)
        return x[..., -keep:, :]


def _running_mean(x: Float[Tensor, "*B L D"]) -> Float[Tensor, "*B L D"]:
    counts = torch.arange(1, x.shape[-2] + 1, device=x.device, dtype=x.dtype)
    return x.cumsum(dim=-2) / counts[:, None]
