"""Loading that accepts exactly the tensors that a model has, and says key by key what differs."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from genomix_data.errors import CheckpointError, preview


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Make tensors those of a model, each in the dtype and on the device that it comes in.

    Args:
        model: May be on the meta device.
        tensors: One for each entry of the model's state dict; no more, no fewer. The model then owns them.
        source: What the messages name.

    Raises:
        CheckpointError: if a key is missing or unknown or a shape differs; the message says which and why it may be.
    """
    check_fits(model.state_dict(), tensors, source)
    model.load_state_dict(dict(tensors), strict=True, assign=True)


def check_fits(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path) -> None:
    """Raise unless the tensors have the names and shapes of a model's state dict; values are not looked at.

    Raises:
        CheckpointError: as `load_strictly`.
    """
    missing = [key for key in expected if key not in tensors]
    unexpected = [key for key in tensors if key not in expected]
    misshapen = [
        f"{key} is {tuple(tensors[key].shape)}, expected {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in tensors and tensors[key].shape != tensor.shape
    ]
    if missing or unexpected:
        raise CheckpointError(
            f"the tensors in {str(source)!r} are not those of this model"
            + (f"; missing: {preview(missing)}" if missing else "")
            + (f"; unexpected: {preview(unexpected)}" if unexpected else "")
            + f". {_likely_cause(missing, unexpected)}"
        )
    if misshapen:
        raise CheckpointError(
            f"tensors in {str(source)!r} have other shapes than its config gives: {preview(misshapen, 3)}. "
            "Config and weights are of different models: copy the whole checkpoint folder again."
        )


def _likely_cause(missing: list[str], unexpected: list[str]) -> str:
    if any(".layer." in key for key in unexpected) or any(
        key.startswith(("hyena.", "model.")) for key in unexpected
    ):
        return "They are in the layout of another program: convert the checkpoint first (`genomix convert`)."
    if missing and all(key.endswith("_scale") for key in missing):
        return "They lack the scales of 8-bit projections, which the config asks for (weights_precision)."
    if any(key.startswith("head.") for key in unexpected):
        return "They have a classification head that the config does not mention: config.json is of another model."
    if any(key.startswith("head.") for key in missing):
        return "They lack the classification head: the weights are of a language model."
    return "Config and weights are of different models: copy the whole checkpoint folder again."
