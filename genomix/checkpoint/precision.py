"""In which precision loaded weights run, and that nobody loses accuracy without having asked for it."""

import logging
from pathlib import Path

import torch
from torch import nn

from genomix.models.families import AnyConfig
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import RMSNorm, StripedHyena2
from genomix.operators.fp8 import enable_fp8, why_model_not_fp8
from genomix_data.errors import CheckpointError

logger = logging.getLogger(__name__)


class PrecisionLossError(CheckpointError):
    """Weights that need 8-bit matrix products would have to run without them."""


def settle_precision(
    model: nn.Module,
    config: AnyConfig,
    path: Path,
    *,
    device: torch.device | str,
    dtype: torch.dtype | None,
    allow_precision_loss: bool,
) -> None:
    """Bring a loaded model to one dtype of activations, and to 8-bit products where its weights need them.

    Args:
        model: With its weights, on the device.
        config: Of the model.
        path: Where the weights are from, for messages.
        device: Where the model will run.
        dtype: To convert to; the stored one if None.
        allow_precision_loss: Go on, with a logged warning, where the 8-bit products cannot run.

    Raises:
        PrecisionLossError: if they cannot, and the loss is not allowed.
    """
    if dtype is not None:
        model.to(dtype)
    else:
        _unify(model, config)
    if not isinstance(config, StripedHyena2Config) or config.weights_precision != "fp8":
        return
    reason = why_model_not_fp8(model, device)
    if reason is None:
        enable_fp8(model)
        logger.info("%s: input projections run in 8 bits, as they were trained", path.name)
    elif allow_precision_loss:
        logger.warning("%s was trained with 8-bit projections and runs without: %s.", path.name, reason)
    else:
        raise PrecisionLossError(
            f"{str(path)!r} was trained with 8-bit projections and loses accuracy without them (the 40B model scores "
            f"variants no better than chance); here they cannot run: {reason}. Use such a GPU, a model that runs in "
            "bf16 anywhere (evo2/7b), or --allow-precision-loss (allow_precision_loss=True) if you accept the loss."
        )


def _unify(model: nn.Module, config: AnyConfig) -> None:
    """Give what the residual stream passes through one dtype, where a checkpoint mixes them.

    Filters may be more precise than the activations, and stay so.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
    dtypes = {parameter.dtype for parameter in parameters}
    if len(dtypes) == 1:
        return
    if not isinstance(config, StripedHyena2Config):
        model.to(max(dtypes, key=lambda dtype: torch.finfo(dtype).bits))
        return
    # A head that was trained on the states of a model keeps its own precision.
    backbone = model if isinstance(model, StripedHyena2) else model.get_submodule("backbone")
    dtype = backbone.get_parameter("embedding.weight").dtype
    for module in backbone.modules():
        if isinstance(module, nn.Linear | nn.Embedding | RMSNorm):
            module.to(dtype)
