"""The Hyena operator: gates and long convolutions in turn.

Order 2, as all published models: ``y = x0 * (conv(k, x1 * v) + bias * (x1 * v))``, where ``x0, x1, v`` are short
causal filters of a linear map of the input. Source: Poli et al. 2023, Hyena Hierarchy, arXiv:2302.10866.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genomix.operators.implicit_filter import ImplicitFilter
from genomix_kernels.causal_fir import causal_fir
from genomix_kernels.fftconv import fftconv


class HyenaOperator(nn.Module):
    """Hyena of any order >= 2 with implicit filters; a `Mixer`.

    Args:
        d_model: Width of input and output.
        l_max: Longest sequence, and the time scale of the filters.
        order: Number of gates and values less one: ``order - 1`` long convolutions.
        short_filter_order: Taps of the short filters.
        channel_layout: See `HyenaDNAConfig`; matters for ``order > 2`` only.
        **filter_options: For `ImplicitFilter`.
    """

    def __init__(
        self,
        d_model: int,
        l_max: int,
        order: int = 2,
        *,
        short_filter_order: int = 3,
        channel_layout: Literal["repo", "standalone"] = "repo",
        **filter_options: Any,
    ) -> None:
        super().__init__()
        width = (order + 1) * d_model
        self.d_model = d_model
        self.order = order
        self.channel_layout = channel_layout
        self.in_proj = nn.Linear(d_model, width)
        self.out_proj = nn.Linear(d_model, d_model)
        # holds the parameters under their published names and initial values; the filter itself is `causal_fir`
        self.short_filter = nn.Conv1d(width, width, short_filter_order, groups=width)
        self.filter_fn = ImplicitFilter(d_model * (order - 1), l_max, **filter_options)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Return the mixed sequence.

        Raises:
            SequenceTooLongError: if the input is longer than ``l_max``.
        """
        filters = self._split_filters(self.filter_fn(x.shape[1]))
        skips = self._split_filters(self.filter_fn.bias)
        first_gate, *gates, v = self._featurize(x).chunk(self.order + 1, dim=1)
        for gate, k, skip in zip(reversed(gates), filters, skips, strict=True):
            v = fftconv(v * gate, k, skip)
        y: Tensor = self.out_proj((v * first_gate).transpose(1, 2))
        return y

    def _featurize(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B C L"]:
        # the transposed product is written by the matrix multiplication itself, channels first, as the filters want it
        weight = self.in_proj.weight.expand(len(x), -1, -1)
        u = torch.baddbmm(self.in_proj.bias[:, None], weight, x.transpose(1, 2))
        return causal_fir(u, self.short_filter.weight[:, 0].flip(-1), self.short_filter.bias)

    def _split_filters(self, channels: Float[Tensor, "C *L"]) -> tuple[Tensor, ...]:
        n_convolutions = self.order - 1
        if self.channel_layout == "repo":
            by_convolution = channels.reshape(self.d_model, n_convolutions, *channels.shape[1:]).transpose(
                0, 1
            )
        else:
            by_convolution = channels.reshape(n_convolutions, self.d_model, *channels.shape[1:])
        return torch.unbind(by_convolution)
