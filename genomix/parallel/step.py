"""The loss of a batch that ranks share, and gradients that are those of its mean.

Each rank has the sum of the losses of its own targets. Gradients are averaged over all W ranks (DDP, FSDP2), so that a
rank that goes back from ``W sum / N``, with N the targets of all ranks together, ends with the gradient of the mean
over all of them: ranks with few targets (N, padding) weigh less, as their windows would on one process.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.parallel.batches import part_of_tokens
from genomix.parallel.parallelize import is_sharded, parallelize
from genomix.parallel.processes import Ranks
from genomix_data.lm_batch import LMBatch

Sums = Callable[[Any, LMBatch], tuple[Tensor, Tensor]]
"""Of a model and a batch: the sum of the loss, with a gradient, and what it is to be divided by."""


class ParallelStep:
    """Forward and backward passes of a language model on a mesh of processes.

    Args:
        model: On the device, with the same values on every rank; it is prepared by `parallelize`.
        ranks: The processes.
        sums: What is minimised.
    """

    def __init__(self, model: HyenaDNA | StripedHyena2, ranks: Ranks, sums: Sums) -> None:
        parallelize(model, ranks.mesh, shards_parameters=ranks.shape.shards_parameters)
        self.model = model
        self.ranks = ranks
        loss = _LossOfPart(model, ranks, sums)
        self._loss: _LossOfPart | DistributedDataParallel = loss
        if not is_sharded(model):
            self._loss = DistributedDataParallel(loss, gradient_as_bucket_view=True)
            self._settle_buckets()

    def loss(self, batch: LMBatch, *, is_last: bool = True) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return what this rank goes back from, and the mean loss of the batch over all ranks.

        Args:
            batch: This rank's windows, of their whole length.
            is_last: Whether gradients are reduced in the backward pass: not before the last batch of a step.
        """
        if isinstance(self._loss, DistributedDataParallel):
            self._loss.require_backward_grad_sync = is_last
        elif isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(is_last)
        local, mean = self._loss(batch)
        return local, mean

    def _settle_buckets(self) -> None:
        """Make a backward pass that counts for nothing.

        After its first one DDP deals gradients out to buckets anew, and then sums over ranks are taken in another
        order: the first step of a resumed run would differ in the last bits from that of a run that goes on.
        """
        ids = torch.zeros(1, self.ranks.context.size, dtype=torch.uint8, device=self.ranks.device)
        local, _ = self.loss(LMBatch(ids, ids))
        local.backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad()


class _LossOfPart(nn.Module):
    def __init__(self, model: nn.Module, ranks: Ranks, sums: Sums) -> None:
        super().__init__()
        self.model = model
        self.ranks = ranks
        self.sums = sums

    def forward(self, batch: LMBatch) -> tuple[Tensor, Tensor]:
        total, count = self.sums(self.model, part_of_tokens(batch, self.ranks))
        everyone = self.ranks.sum(torch.stack([total.detach().double(), count.double()]))
        # A batch of nothing but N has no loss, rather than 0 / 0.
        n_targets = torch.where(everyone[1] > 0, everyone[1], 1.0)
        return total * (self.ranks.n / n_targets).to(total.dtype), (everyone[0] / n_targets).to(total.dtype)


def clip_gradients(parameters: list[nn.Parameter], largest: float) -> Tensor:
    """Scale gradients down where their norm, over all ranks, is larger than allowed, and return the norm before."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm
