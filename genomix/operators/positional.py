"""Positional features that an implicit filter is a function of."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PositionalFeatures(nn.Module):
    """Time and a few sinusoids of each position, ``z[n] = [t_n, cos(f_j w_n).., -sin(f_j w_n)..]``.

    ``t_n = n / (l_max - 1)``, ``w_n = 2 pi n / l_max``, and ``f`` are ``(emb_dim - 1) / 2`` values from 1e-4 to one
    less than their number. They are computed for the positions that are asked for and held nowhere: for a million
    positions they would be most of a checkpoint. Only when trainable are they kept, as the parameter ``z``.

    Values are rounded to fp32 step by step, as in the published checkpoints, whatever the dtype of the model: the
    filters' sines enlarge differences, and an fp64 model is to differ from its fp32 self by arithmetic only.
    """

    z: nn.Parameter | None

    def __init__(self, emb_dim: int, l_max: int, *, trainable: bool = False) -> None:
        super().__init__()
        self.emb_dim = emb_dim
        self.l_max = l_max
        self.register_parameter("z", None)
        if trainable:
            self.z = nn.Parameter(
                self._features(l_max, torch.get_default_device()).to(torch.get_default_dtype())[None]
            )

    def forward(
        self, length: int, *, start: int = 0, dtype: torch.dtype, device: torch.device
    ) -> tuple[Float[Tensor, "L E"], Float[Tensor, " L"]]:
        """Return the features and the times ``t`` of ``length`` positions from ``start`` on."""
        features = self._features(length, device, start)
        t = features[:, 0].to(dtype)
        if self.z is not None:
            return self.z[0, start : start + length].to(dtype), t
        return features.to(dtype), t

    def _features(self, length: int, device: torch.device, start: int = 0) -> Float[Tensor, "L E"]:
        n_bands = (self.emb_dim - 1) // 2
        n = torch.arange(start, start + length, dtype=torch.float32, device=device)
        frequencies = torch.linspace(1e-4, n_bands - 1, n_bands, dtype=torch.float32, device=device)
        # by a tensor: CUDA divides by a number as a product with its inverse, whose last digit shows in the filters
        l_max = torch.full((), self.l_max, dtype=torch.float32, device=device)
        phase = (2 * math.pi * n / l_max)[:, None] * frequencies
        waves = torch.exp(-1j * phase)
        t = torch.linspace(0, 1, self.l_max, dtype=torch.float32, device=device)[start : start + length]
        return torch.cat([t[:, None], waves.real, waves.imag], dim=1)
