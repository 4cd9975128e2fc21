"""What a head stands on: the language model of either family without its output, run from ids or with a soft prompt."""

from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix.models.hyenadna.model import HyenaDNA, HyenaDNABackbone
from genomix.models.stripedhyena2.model import StripedHyena2

Backbone: TypeAlias = HyenaDNABackbone | StripedHyena2


def backbone_of(model: "HyenaDNA | Backbone") -> Backbone:
    """Return the backbone of a language model, taken over and not copied; an output matrix of its own is dropped."""
    if isinstance(model, HyenaDNA):
        return model.backbone
    if isinstance(model, StripedHyena2) and hasattr(model, "unembedding"):
        del model.unembedding
    return model


def hidden_states(
    backbone: Backbone, ids: Int[Tensor, "B L"], prompt: Float[Tensor, "P D"] | None = None
) -> Float[Tensor, "B L D"]:
    """Return the hidden states after the last norm, those of the prompt left out.

    Args:
        backbone: Of either family.
        ids: Token ids.
        prompt: Vectors that stand before the embedding of every sequence.

    Raises:
        SequenceTooLongError: if prompt and ids together are longer than the model takes.
    """
    if prompt is None:
        states: Tensor = (
            backbone(ids) if isinstance(backbone, HyenaDNABackbone) else backbone.hidden_states(ids)
        )
        return states
    embedded = backbone.embed(ids)
    before = prompt.to(embedded.dtype).expand(len(ids), *prompt.shape)
    states = backbone.run(torch.cat([before, embedded], dim=1))
    return states[:, len(prompt) :]
