"""Products of each sequence of a batch with the same matrices, where the bits of one do not depend on the others.

A product over all sequences together is as fast, but a library may sum it in another order for another batch.
"""

import torch
from jaxtyping import Num
from torch import Tensor


def products_alone(x: Num[Tensor, "B G R K"], matrices: Num[Tensor, "G K C"]) -> Num[Tensor, "B G R C"]:
    """Return ``x[b] @ matrices`` for each b.

    Args:
        x: Rows, of each sequence and each group.
        matrices: One a group.
    """
    if (
        x.is_cuda
    ):  # which would wait longer for a launch a sequence than for the copies of the matrices in here
        return torch.matmul(x, matrices)
    return torch.stack([torch.bmm(each, matrices) for each in x])
