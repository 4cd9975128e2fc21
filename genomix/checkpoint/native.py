"""A model as a folder: ``config.json``, ``model.safetensors`` and a model card, ``README.md``.

``config.json`` says everything that is needed to rebuild the model and its tokenizer; the tensors are checked against
it key by key. Nothing is unpickled. The SHA-256 of ``model.safetensors`` names the model in the outputs made with it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from genomix.checkpoint.files import (
    CONFIG_FILE,
    FORMAT,
    FORMAT_VERSION,
    WEIGHTS_FILE,
    file_sha256,
    read_settings,
    read_weights,
    write_json,
)
from genomix.checkpoint.strict import load_strictly
from genomix.heads.classifier import SequenceClassifier
from genomix.heads.pooling import POOLINGS
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix_data.atomic import atomic_folder
from genomix_data.errors import CheckpointError, GenomixError
from genomix_data.tokenizers import Tokenizer, tokenizer_from_dict

ModelKind = Literal["language_model", "classifier"]
_KIND_WORDS = {"language_model": "a language model", "classifier": "a classifier"}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model and what it came with.

    Attributes:
        model: In eval mode, on the device that was asked for.
        config: Of the backbone.
        tokenizer: That the model was trained with.
        head_info: Of a classifier: ``n_classes``, ``pooling``, ``dropout`` and what the caller of `save_model` added,
            such as ``class_names``; None for a language model.
        provenance: How the model was made.
        sha256: Of ``model.safetensors``.
        path: The folder.
    """

    model: HyenaDNA | SequenceClassifier
    config: HyenaDNAConfig
    tokenizer: Tokenizer
    head_info: dict[str, Any] | None
    provenance: dict[str, Any]
    sha256: str
    path: Path

    @property
    def language_model(self) -> HyenaDNA:
        """The model, where it is a language model.

        Raises:
            CheckpointError: if it is a classifier.
        """
        if not isinstance(self.model, HyenaDNA):
            raise CheckpointError(_wrong_kind(self.path, "language_model"))
        return self.model

    @property
    def classifier(self) -> SequenceClassifier:
        """The model, where it is a classifier.

        Raises:
            CheckpointError: if it is a language model.
        """
        if not isinstance(self.model, SequenceClassifier):
            raise CheckpointError(_wrong_kind(self.path, "classifier"))
        return self.model


def save_model(
    model: HyenaDNA | SequenceClassifier,
    folder: str | os.PathLike[str],
    *,
    tokenizer: Tokenizer,
    head: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any],
    card: str,
) -> Path:
    """Write a model folder whole, replacing one of the same name, and return its path.

    Args:
        model: Language model or classifier, on any device.
        folder: Where to.
        tokenizer: That the model was trained with.
        head: Of a classifier: what a user of it must know, such as ``class_names``; its own settings are added.
        provenance: How the model was made: resolved config, versions, seed, data. JSON values.
        card: Text of ``README.md``, Markdown.

    Raises:
        InputFileError: if the folder cannot be written.
        ValueError: if ``head`` is given for a language model.
    """
    head_info: dict[str, Any] | None = None
    if isinstance(model, SequenceClassifier):
        head_info = {**(head or {}), **model.head_settings()}
    elif head is not None:
        raise ValueError("head is for a classifier; this is a language model.")
    with atomic_folder(folder) as fresh:
        weights = fresh / WEIGHTS_FILE
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(tensors, weights, metadata={"format": "pt"})
        settings = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "model_type": "hyenadna",
            "config": model.config.to_dict(),
            "head": head_info,
            "tokenizer": tokenizer.to_dict(),
            "weights_sha256": file_sha256(weights),
            "provenance": dict(provenance),
        }
        write_json(fresh / CONFIG_FILE, settings)
        (fresh / "README.md").write_text(card, encoding="utf-8")
    return Path(folder)


def load_model(
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    expect: ModelKind | None = None,
) -> LoadedModel:
    """Return the model of a folder that `save_model` wrote, in eval mode.

    Args:
        folder: The checkpoint.
        device: Where the model goes.
        expect: What the caller can use; None for either.

    Raises:
        CheckpointError: if the folder is missing or no checkpoint, was written by a newer version, is damaged, does
            not fit its own config, or is not of the kind expected. The message says which and what to do.
    """
    path = Path(folder)
    settings = read_settings(path)
    if settings["model_type"] != "hyenadna":
        raise CheckpointError(
            f"{str(path)!r} holds a model of type {settings['model_type']!r}; this version of genomix "
            "knows 'hyenadna'. Update genomix, or choose another checkpoint."
        )
    kind: ModelKind = "language_model" if settings["head"] is None else "classifier"
    if expect is not None and kind != expect:
        raise CheckpointError(_wrong_kind(path, expect))
    tensors, digest = read_weights(path, settings.get("weights_sha256"))
    try:
        config = HyenaDNAConfig.from_dict(settings["config"])
        tokenizer = tokenizer_from_dict(settings["tokenizer"])
    except (GenomixError, TypeError) as error:
        raise CheckpointError(f"{str(path / CONFIG_FILE)!r} does not describe a model: {error}") from error
    with torch.device("meta"):
        model = _build(path, config, settings["head"])
    model.to_empty(device=device)
    load_strictly(model, tensors, path)
    return LoadedModel(
        model=model.eval(),
        config=config,
        tokenizer=tokenizer,
        head_info=settings["head"],
        provenance=settings["provenance"],
        sha256=digest,
        path=path,
    )


def _build(
    path: Path, config: HyenaDNAConfig, head: Mapping[str, Any] | None
) -> HyenaDNA | SequenceClassifier:
    model = HyenaDNA(config)
    if head is None:
        return model
    n_classes, pooling, dropout = head.get("n_classes"), head.get("pooling"), head.get("dropout", 0.0)
    if not isinstance(n_classes, int) or pooling not in POOLINGS:
        raise CheckpointError(
            f"the head in {str(path / CONFIG_FILE)!r} has n_classes {n_classes!r} and pooling {pooling!r}; "
            f"expected an integer and one of {', '.join(POOLINGS)}. Restore the file that was saved."
        )
    return SequenceClassifier(model, n_classes, pooling=pooling, dropout=float(dropout))


def _wrong_kind(path: Path, expected: ModelKind) -> str:
    found: ModelKind = "classifier" if expected == "language_model" else "language_model"
    remedy = (
        "Give the folder of a pretrained model (`genomix pretrain` writes one)."
        if expected == "language_model"
        else "Fine-tune it first (`genomix finetune`), and give the folder that this writes."
    )
    return f"{str(path)!r} is {_KIND_WORDS[found]} but {_KIND_WORDS[expected]} is needed here. {remedy}"
