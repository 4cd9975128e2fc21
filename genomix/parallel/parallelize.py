"""From a plain language model to one that works on a mesh of processes; its parameters keep their names."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.operators.implicit_filter import ImplicitFilter
from genomix.parallel.collectives import ContextGroup
from genomix.parallel.mixers import CONTEXT_MIXERS, split_over_context
from genomix.parallel.shape import AXES

ENTRANCES = ("hidden_states", "logits")
"""Methods of a language model besides `forward` that read parameters of its own."""


def parallelize(
    model: HyenaDNA | StripedHyena2, mesh: DeviceMesh, *, shards_parameters: bool | None = None
) -> None:
    """Make a model work on this rank's part of each sequence, with this rank's shards of its parameters.

    With ``context`` in the mesh the model takes ids ``(batch, seqlen / context)`` from now on. With shards its
    parameters become DTensors (FSDP2, a unit for each block), shared by the ranks of ``shard`` and ``context``
    together; otherwise they stay whole. What ranks learn from their parts is put together by `genomix.parallel.step`.

    Args:
        model: On the device, with the same values on every rank.
        mesh: Of all processes, with some of the axes `genomix.parallel.shape.AXES`, in that order.
        shards_parameters: Share parameters among the ranks of ``shard`` and ``context``; by default where ``shard`` is
            more than one.

    Raises:
        ConfigError: if the model's channels cannot be dealt out to the ranks of a sequence.
        ValueError: if the mesh has other axes.
    """
    names = mesh.mesh_dim_names or ()
    if names != tuple(axis for axis in AXES if axis in names):
        raise ValueError(f"the mesh has the axes {names}; expected some of {AXES}, in that order.")
    sizes = dict(zip(names, mesh.shape, strict=True))
    if sizes.get("context", 1) > 1:
        context = ContextGroup.of(mesh.get_group("context"))
        for module in list(model.modules()):
            if type(module) in CONTEXT_MIXERS:
                split_over_context(module, context)
    if sizes.get("shard", 1) > 1 if shards_parameters is None else shards_parameters:
        _shard(model, mesh.device_type, sizes)


def is_sharded(model: nn.Module) -> bool:
    """Return whether a model's parameters are shared among ranks."""
    return isinstance(model, FSDPModule)


@contextmanager
def forward_passes_alone(model: nn.Module) -> Iterator[None]:
    """Make forward passes without a backward pass in the block; afterwards a model is as if there had been none.

    Long filters that inference keeps until their parameters change are dropped, because memory that FSDP2 lends to
    parameters does not tell when they do; and so is what FSDP2 has gathered, and would not gather again.
    """
    _forget_filters(model)
    try:
        yield
    finally:
        _forget_filters(model)
        if isinstance(model, FSDPModule):
            model.reshard()


def _forget_filters(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, ImplicitFilter):
            module.forget()


def _shard(model: HyenaDNA | StripedHyena2, device_type: str, sizes: dict[str, int]) -> None:
    replicas, shards = sizes.get("data", 1), sizes.get("shard", 1) * sizes.get("context", 1)
    shape, names = ((shards,), ("shard",)) if replicas == 1 else ((replicas, shards), ("replicate", "shard"))
    mesh = init_device_mesh(device_type, shape, mesh_dim_names=names)
    for block in model.backbone.layers if isinstance(model, HyenaDNA) else model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for name in ENTRANCES:
        register_fsdp_forward_method(model, name)
