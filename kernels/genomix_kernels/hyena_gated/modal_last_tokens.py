"""A state and the few tokens after it: ``exp(a n) before + sum_t exp(a (n - 1 - t)) m[t]``, a program a channel.

Each sequence is summed by programs of its own, so it gives the same bits alone and in any batch.
"""

# Triton's types are no types of Python's
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.triton_support import launched_on

TOKENS_AT_ONCE = 64


def add_tokens(
    m: Float[Tensor, "B D L"], log_poles: Float[Tensor, "D N"], before: Float[Tensor, "B D N"]
) -> Float[Tensor, "B D N"]:
    """Return the state after some tokens, in fp32.

    Args:
        m: What the filter is given at these tokens, at least one.
        log_poles: Of its modes, real.
        before: The state before them.
    """
    batch, channels, n_tokens = m.shape
    n_modes = log_poles.shape[1]
    m, log_poles, before = m.float().contiguous(), log_poles.float().contiguous(), before.contiguous()
    after = torch.empty_like(before)
    with launched_on(m):
        add_tokens_kernel[(batch * channels,)](
            m, log_poles, before, after, channels, n_tokens, N_MODES=n_modes,
            N=triton.next_power_of_2(n_modes), T=TOKENS_AT_ONCE, num_warps=1,
        )  # fmt: skip
    return after


@triton.jit(do_not_specialize=["n_tokens"])
def add_tokens_kernel(
    m_ptr, a_ptr, before_ptr, after_ptr, channels, n_tokens, N_MODES: tl.constexpr, N: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    """Add the tokens of one channel of one sequence to its state."""
    row = tl.program_id(0)
    n = tl.arange(0, N)
    t = tl.arange(0, T)
    is_mode = n < N_MODES
    a = tl.load(a_ptr + row % channels * N_MODES + n, mask=is_mode, other=0.0)
    state = tl.load(before_ptr + row.to(tl.int64) * N_MODES + n, mask=is_mode, other=0.0) * tl.exp(
        a * n_tokens
    )
    tokens = m_ptr + row.to(tl.int64) * n_tokens
    for first in range(0, n_tokens, T):
        later = n_tokens - 1 - first - t  # tokens that follow each
        m = tl.load(tokens + first + t, mask=later >= 0, other=0.0)
        # of a growing mode the power would overflow where there is no token
        powers = tl.exp(a[:, None] * tl.maximum(later, 0)[None, :])
        state += tl.sum(powers * m[None, :], axis=1)
    tl.store(after_ptr + row.to(tl.int64) * N_MODES + n, state, mask=is_mode)
