"""The long filters of HyenaDNA: a small sine MLP of the position, under an exponential window.

``k_n = (W_last sin(freq (.. sin(freq (W_0 z_n + b_0)))) ) * (exp(-t_n |delta|) + shift)``, one filter a channel.
Source: Poli et al. 2023, arXiv:2302.10866, section 3.3; Nguyen et al. 2023, arXiv:2306.15794.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genomix.operators.parameter_rule import ParameterRule
from genomix.operators.positional import PositionalFeatures
from genomix_data.errors import SequenceTooLongError
from genomix_kernels.implicit_filter import sine_filter


class ImplicitFilter(nn.Module):
    """Filters of ``n_filters`` channels as a function of time, and the skip gain that goes with each.

    Parameters are named as in the published checkpoints: ``bias`` is the skip gain, ``implicit_filter.{0,2,4,6}`` the
    linear layers, ``implicit_filter.1.freq`` the frequencies that all sine layers share.

    A filter has ``l_max`` taps, or the first ``filter_len`` of them. Sequences end at ``l_max`` too, or at
    ``extended_len``, with no more taps than that.
    """

    def __init__(
        self,
        n_filters: int,
        l_max: int,
        *,
        emb_dim: int = 5,
        filter_order: int = 64,
        n_inner_mlps: int = 2,
        w: float = 10.0,
        shift: float = 0.05,
        modulate: bool = True,
        normalized: bool = False,
        fast_decay_pct: float = 0.3,
        slow_decay_pct: float = 1.5,
        decay_target: float = 1e-2,
        linear_mixer: bool = False,
        lr_pos_emb: float = 0.0,
        filter_len: int | None = None,
        extended_len: int | None = None,
    ) -> None:
        super().__init__()
        self.n_filters = n_filters
        self.l_max = l_max
        self.filter_len = filter_len or l_max
        self.longest_input = extended_len or l_max
        self.shift = shift
        self.modulate = modulate
        self.normalized = normalized
        self.lr_pos_emb = lr_pos_emb
        self._cache: tuple[tuple[tuple[int, int], ...], Tensor] | None = None
        self._parts: tuple[Tensor, tuple[Tensor, ...]] | None = None
        self.fast_decay_pct = fast_decay_pct
        self.slow_decay_pct = slow_decay_pct
        self.decay_target = decay_target
        self.bias = nn.Parameter(torch.randn(n_filters))
        self.pos_emb = PositionalFeatures(emb_dim, l_max, trainable=lr_pos_emb != 0.0)
        self.implicit_filter = nn.ModuleDict()
        if linear_mixer:
            self.implicit_filter["0"] = nn.Linear(emb_dim, n_filters, bias=False)
            return
        self.implicit_filter["0"] = nn.Linear(emb_dim, filter_order)
        self.implicit_filter["1"] = Sine(filter_order, w)
        for layer in range(n_inner_mlps):
            self.implicit_filter[str(2 * layer + 2)] = nn.Linear(filter_order, filter_order)
        self.implicit_filter[str(2 * n_inner_mlps + 2)] = nn.Linear(filter_order, n_filters, bias=False)

    def forward(self, length: int, start: int = 0) -> Float[Tensor, "C K"]:
        """Return the filters at ``length`` positions from ``start`` on, in fp32 (fp64 in an fp64 model).

        Those at or beyond ``filter_len`` are no taps, and are left out. Autocast changes nothing.

        Raises:
            SequenceTooLongError: if positions exceed ``l_max`` (or ``extended_len``).
        """
        self.check_length(start + length)
        length = max(0, min(length, self.filter_len - start))
        device = self.bias.device
        dtype = torch.promote_types(self.bias.dtype, torch.float32)
        with torch.autocast(device_type=device.type, enabled=False):
            z, t = self.pos_emb(length, start=start, dtype=dtype, device=device)
            k = self._evaluate(z, t)
            if self.normalized:
                k = k / k.abs().sum(dim=0, keepdim=True)
        return k

    def check_length(self, length: int) -> None:
        """Check that a sequence may be so long.

        Raises:
            SequenceTooLongError: if not: the filters are not defined beyond ``l_max``.
        """
        if length > self.longest_input:
            extended = f" (extended_len = {self.longest_input})" if self.longest_input > self.l_max else ""
            raise SequenceTooLongError(
                f"the sequence has {length} tokens but the filters of this model end at l_max = {self.l_max}"
                f"{extended}. Score shorter windows, or take a model of longer context."
            )

    def cached(self, length: int) -> Float[Tensor, "C K"]:
        """Return what `forward` does, kept for the next call until a parameter changes; for inference only.

        Filters do not depend on how long they are asked for, so one evaluation of the next power of two serves a
        whole generation.

        Raises:
            SequenceTooLongError: if ``length`` exceeds ``l_max`` (or ``extended_len``).
        """
        self.check_length(length)
        length = min(length, self.filter_len)
        if any(parameter.is_inference() for parameter in self.parameters()):
            # made under inference mode, where nothing tells when they change: never kept
            filters: Tensor = self(length)
            return filters
        made_of = tuple((parameter.data_ptr(), parameter._version) for parameter in self.parameters())
        if self._cache is None or self._cache[0] != made_of or self._cache[1].shape[1] < length:
            # a tensor made under inference mode would not serve a graph, nor tell whether it has changed
            with torch.inference_mode(False), torch.no_grad():
                room = min(self.filter_len, 1 << (length - 1).bit_length())
                self._cache = (made_of, self(room))
        return self._cache[1][:, :length]

    def cached_parts(
        self, length: int, split: Callable[[Tensor], tuple[Tensor, ...]]
    ) -> tuple[Float[Tensor, "D K"], ...]:
        """Return what `cached` does, split; the very same tensors at every call for one length.

        So that what is kept for each of them, its transform above all, serves the next call. For one caller with one
        way to split.

        Raises:
            SequenceTooLongError: if ``length`` exceeds ``l_max`` (or ``extended_len``).
        """
        whole = self.cached(length)
        # what is kept holds its storage, so no other filters can lie at its address
        kept = self._parts
        if kept is None or kept[0].data_ptr() != whole.data_ptr() or kept[0].shape != whole.shape:
            self._parts = kept = (whole, split(whole))
        return kept[1]

    @property
    def is_frozen(self) -> bool:
        """Whether nothing that the filters are made of is being trained."""
        makers = (self.implicit_filter, self.pos_emb)
        return not any(parameter.requires_grad for module in makers for parameter in module.parameters())

    def forget(self) -> None:
        """Drop what `cached` and `cached_parts` keep."""
        self._cache = self._parts = None

    def __getstate__(self) -> dict[str, Any]:
        # a copy or a pickle is made without what can be computed again
        return {**self.__dict__, "_cache": None, "_parts": None}

    def parameter_rules(self) -> dict[str, ParameterRule]:
        """Return how the optimizer treats this module's own parameters: no weight decay on the filter's MLP."""
        rules = {
            f"implicit_filter.{name}": ParameterRule(weight_decay=0.0)
            for name, _ in self.implicit_filter.named_parameters()
        }
        if self.pos_emb.z is not None:
            rules["pos_emb.z"] = ParameterRule(lr=self.lr_pos_emb, weight_decay=0.0)
        return rules

    def _evaluate(self, z: Float[Tensor, "L E"], t: Float[Tensor, " L"]) -> Float[Tensor, "C L"]:
        layers = [layer for layer in self.implicit_filter.values() if isinstance(layer, nn.Linear)]
        has_sines = len(layers) > 1
        window: dict[str, Any] = {}
        if self.modulate:
            deltas = decay_rates(
                self.n_filters,
                fast_decay_pct=self.fast_decay_pct,
                slow_decay_pct=self.slow_decay_pct,
                decay_target=self.decay_target,
                device=z.device,
            )
            window = {"t": t, "decay": deltas.to(z.dtype).abs(), "shift": self.shift}
        return sine_filter(
            z,
            [layer.weight.to(z.dtype) for layer in layers],
            [layer.bias.to(z.dtype) for layer in layers[:-1]],
            self.implicit_filter["1"].get_parameter("freq")[0].to(z.dtype) if has_sines else None,
            **window,
        )


def decay_rates(
    n_filters: int, *, fast_decay_pct: float, slow_decay_pct: float, decay_target: float, device: torch.device
) -> Float[Tensor, " C"]:
    """Return ``delta`` of each channel in units of ``1 / l_max``, fp32; negative, from slow to fast, as published.

    The slowest channel's window falls to ``decay_target`` in ``slow_decay_pct`` of ``l_max``, the fastest one's in
    ``fast_decay_pct``.
    """
    slow, fast = math.log(decay_target) / slow_decay_pct, math.log(decay_target) / fast_decay_pct
    return torch.linspace(slow, fast, n_filters, dtype=torch.float32, device=device)


class Sine(nn.Module):
    """``sin(freq * x)`` with a trainable frequency for each feature."""

    def __init__(self, width: int, w: float) -> None:
        super().__init__()
        self.freq = nn.Parameter(torch.full((1, width), float(w)))

    def forward(self, x: Float[Tensor, "*shape F"]) -> Float[Tensor, "*shape F"]:
        """Return the activation."""
        return torch.sin(self.freq * x)
