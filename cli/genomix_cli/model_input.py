"""What the verbs that run a model share: its options, and loading it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genomix.checkpoint.shipped import DEFAULT_MODEL as _SHIPPED

if TYPE_CHECKING:
    from genomix.checkpoint.native import LoadedModel

DEFAULT_MODEL = Path(_SHIPPED)

ModelOption = Annotated[
    Path,
    typer.Option(
        "-m",
        "--model",
        help="Language model: a folder, of genomix pretrain or convert, or the name of one that ships with genomix.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DtypeOption = Annotated[
    Literal["stored", "float32", "bfloat16"],
    typer.Option(help="Of weights and activations; stored: as the checkpoint says, or else has them."),
]
PrecisionLossOption = Annotated[
    bool,
    typer.Option(
        "--allow-precision-loss", help="Run weights that need 8-bit products without them, less exactly."
    ),
]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no summary.")]


def load(model: Path, device: str, dtype: str, allow_precision_loss: bool) -> "tuple[LoadedModel, str]":
    """Return the language model of a folder on a device, and the device's name."""
    import torch

    from genomix.checkpoint.native import load_model
    from genomix.variant_effect.engine import pick_device

    where = str(pick_device(device))
    loaded = load_model(
        model,
        device=where,
        dtype=None if dtype == "stored" else getattr(torch, dtype),
        expect="language_model",
        allow_precision_loss=allow_precision_loss,
    )
    return loaded, where
