"""A model as a folder: ``config.json``, ``model.safetensors`` (or shards of it) and a model card, ``README.md``.

``config.json`` says everything that is needed to rebuild the model and its tokenizer; the tensors are checked against
it key by key. Nothing is unpickled. The SHA-256 of the weights names the model in the outputs made with it.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from genomix.checkpoint.files import (
    CONFIG_FILE,
    FORMAT,
    FORMAT_VERSION,
    compute_dtype_of,
    read_settings,
    read_weights,
    write_json,
)
from genomix.checkpoint.precision import settle_precision
from genomix.checkpoint.shards import write_tensors
from genomix.checkpoint.shipped import located, name_of
from genomix.checkpoint.strict import load_strictly
from genomix.heads.build import HeadModel, build_head, head_kind
from genomix.heads.classifier import SequenceClassifier
from genomix.heads.sequence_model import HeadKind, SequenceModel
from genomix.heads.token_classifier import TokenClassifier
from genomix.models.families import (
    CONFIGS,
    AnyConfig,
    AnyLanguageModel,
    build_language_model,
    config_of,
    model_type_of,
)
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix_data.atomic import atomic_folder
from genomix_data.errors import CheckpointError, GenomixError
from genomix_data.tokenizers import Tokenizer, tokenizer_from_dict

ModelKind = Literal["language_model"] | HeadKind
_KIND_WORDS: dict[ModelKind, str] = {
    "language_model": "a language model",
    "classifier": "a classifier",
    "multilabel": "a multi-label classifier",
    "regressor": "a regression model",
    "token_classifier": "a classifier of single bases",
    "variant_classifier": "a classifier of variants",
}


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
        sha256: Of the weights.
        path: The folder.
    """

    model: HyenaDNA | StripedHyena2 | HeadModel
    config: AnyConfig
    tokenizer: Tokenizer
    head_info: dict[str, Any] | None
    provenance: dict[str, Any]
    sha256: str
    path: Path

    @property
    def name(self) -> str:
        """What messages and outputs call it: the name of a shipped model, the path of any other."""
        return name_of(self.path)

    @property
    def language_model(self) -> HyenaDNA | StripedHyena2:
        """The model, where it is a language model.

        Raises:
            CheckpointError: if it has a head.
        """
        if isinstance(self.model, SequenceModel | TokenClassifier):
            raise CheckpointError(_wrong_kind(self.path, self.model.kind, "language_model"))
        return self.model

    @property
    def hyenadna(self) -> HyenaDNA:
        """The model, where it is a HyenaDNA language model: for code that serves this family only.

        Raises:
            CheckpointError: if it is another model.
        """
        model = self.language_model
        if not isinstance(model, HyenaDNA):
            raise CheckpointError(
                f"{self.name!r} is a {model_type_of(self.config)} model; this works with HyenaDNA models only."
            )
        return model

    @property
    def head_model(self) -> HeadModel:
        """The model, where it has a head of any kind.

        Raises:
            CheckpointError: if it is a language model.
        """
        if not isinstance(self.model, SequenceModel | TokenClassifier):
            raise CheckpointError(_wrong_kind(self.path, "language_model", "classifier"))
        return self.model

    @property
    def classifier(self) -> SequenceClassifier:
        """The model, where it is a classifier.

        Raises:
            CheckpointError: if it is another kind of model.
        """
        if not isinstance(self.model, SequenceClassifier):
            found = (
                self.model.kind
                if isinstance(self.model, SequenceModel | TokenClassifier)
                else "language_model"
            )
            raise CheckpointError(_wrong_kind(self.path, found, "classifier"))
        return self.model


def save_model(
    model: HyenaDNA | StripedHyena2 | HeadModel,
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
    if isinstance(model, SequenceModel | TokenClassifier):
        head_info = {**(head or {}), **model.head_settings()}
    elif head is not None:
        raise ValueError("head is for a classifier; this is a language model.")
    return write_folder(
        folder,
        model.state_dict().items(),
        config=model.config,
        head_info=head_info,
        tokenizer=tokenizer,
        provenance=provenance,
        card=card,
    )


def write_folder(
    folder: str | os.PathLike[str],
    tensors: Iterable[tuple[str, Tensor]],
    *,
    config: AnyConfig,
    head_info: Mapping[str, Any] | None,
    tokenizer: Tokenizer,
    provenance: Mapping[str, Any],
    card: str,
    compute_dtype: torch.dtype | None = None,
) -> Path:
    """Write a model folder from its tensors, one after the other; see `save_model`.

    ``compute_dtype`` is what the model is to run in where nobody says otherwise; that of the tensors if None.
    """
    with atomic_folder(folder) as fresh:
        digest = write_tensors(fresh, tensors)
        settings = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "model_type": model_type_of(config),
            "config": config.to_dict(),
            "head": None if head_info is None else dict(head_info),
            "tokenizer": tokenizer.to_dict(),
            "weights_sha256": digest,
            **({} if compute_dtype is None else {"compute_dtype": str(compute_dtype).removeprefix("torch.")}),
            "provenance": dict(provenance),
        }
        write_json(fresh / CONFIG_FILE, settings)
        (fresh / "README.md").write_text(card, encoding="utf-8")
    return Path(folder)


def load_model(
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    expect: ModelKind | None = None,
    allow_precision_loss: bool = False,
) -> LoadedModel:
    """Return the model of a folder that `save_model` or `genomix convert` wrote, in eval mode.

    Args:
        folder: The checkpoint, or the name of a model that ships with genomix.
        device: Where the model goes, and stays: weights that need 8-bit products are refused by it.
        dtype: Of the activations and matrices; as the checkpoint says, or as stored, if None. What must be precise
            stays in fp32.
        expect: What the caller can use; None for either.
        allow_precision_loss: Load weights that were trained in 8 bits where they can only run in more, less exactly.

    Raises:
        CheckpointError: if the folder is missing or no checkpoint, was written by a newer version, is damaged, does
            not fit its own config, or is not of the kind expected. The message says which and what to do.
        PrecisionLossError: if the weights need 8-bit products that are not there.
    """
    path = located(folder)
    settings = read_settings(path)
    dtype = dtype or compute_dtype_of(settings)
    if settings["model_type"] not in CONFIGS:
        raise CheckpointError(
            f"{str(path)!r} holds a model of type {settings['model_type']!r}; this version of genomix "
            f"knows {', '.join(CONFIGS)}. Update genomix, or choose another checkpoint."
        )
    kind = _kind_of(path, settings["head"])
    if expect is not None and kind != expect:
        raise CheckpointError(_wrong_kind(path, kind, expect))
    try:
        config = config_of(settings["model_type"], settings["config"])
        tokenizer = tokenizer_from_dict(settings["tokenizer"])
    except (GenomixError, TypeError) as error:
        raise CheckpointError(f"{str(path / CONFIG_FILE)!r} does not describe a model: {error}") from error
    tensors, digest = read_weights(path, settings.get("weights_sha256"), device)
    with torch.device("meta"):
        model = build_from_settings(path, config, settings["head"])
    load_strictly(model, tensors, path)
    settle_precision(
        model, config, path, device=device, dtype=dtype, allow_precision_loss=allow_precision_loss
    )
    return LoadedModel(
        model=model.eval(),
        config=config,
        tokenizer=tokenizer,
        head_info=settings["head"],
        provenance=settings["provenance"],
        sha256=digest,
        path=path,
    )


def build_from_settings(
    path: Path, config: AnyConfig, head: Mapping[str, Any] | None
) -> HyenaDNA | StripedHyena2 | HeadModel:
    """Return a new model of these settings.

    Args:
        path: Where they are from, for messages.
        config: Of the backbone.
        head: Of a classifier.

    Raises:
        CheckpointError: if they describe no model.
    """
    model: AnyLanguageModel = build_language_model(config)
    if head is None:
        return model
    try:
        return build_head(model, head)
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"the head in {str(path / CONFIG_FILE)!r} cannot be built: {error} Restore the file that was saved."
        ) from error


def _kind_of(path: Path, head: Mapping[str, Any] | None) -> ModelKind:
    try:
        return "language_model" if head is None else head_kind(head)
    except ValueError as error:
        raise CheckpointError(
            f"the head in {str(path / CONFIG_FILE)!r} is not known: {error} Update genomix, or restore the file."
        ) from error


def _wrong_kind(path: Path, found: ModelKind, expected: ModelKind) -> str:
    if expected == "language_model":
        remedy = "Give the folder of a pretrained model (`genomix pretrain` writes one)."
    elif found == "language_model":
        remedy = "Fine-tune it first (`genomix finetune`), and give the folder that this writes."
    else:
        remedy = "Give the folder of such a model."
    return f"{name_of(path)!r} is {_KIND_WORDS[found]} but {_KIND_WORDS[expected]} is needed here. {remedy}"
