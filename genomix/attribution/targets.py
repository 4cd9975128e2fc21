"""What is attributed: one number a sequence, from a head or from a language model, differentiable in what is read."""

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from genomix.attribution.letters import LETTERS, ids_of, letter_ids, reading
from genomix.checkpoint.native import LoadedModel
from genomix.heads.sequence_model import SequenceModel
from genomix.heads.token_classifier import TokenClassifier
from genomix_data.errors import ConfigError, preview


class Target(Protocol):
    """A number for each sequence of a batch.

    Attributes:
        name: What it is, for people.
    """

    name: str

    def __call__(self, x: Float[Tensor, "B L 5"]) -> Float[Tensor, " B"]:
        """Return the number of each sequence; gradients flow to ``x``."""
        ...


class HeadOutput:
    """An output of a fine-tuned head.

    Of classes it is the log-odds ``log p - log(1 - p)`` of one: a single logit of a softmax means nothing alone. Of
    labels it is the logit, of numbers the number (with the link ``log``, its logarithm).

    Args:
        loaded: A model with a head, on its device.
        index: Which output.
        position: Of a head of single bases, the base whose class it is, 0-based.

    Raises:
        ConfigError: if there is no such output, or a position is missing or given where there is none.
    """

    def __init__(self, loaded: LoadedModel, index: int, *, position: int | None = None) -> None:
        model = loaded.model
        if not isinstance(model, SequenceModel | TokenClassifier):
            raise ConfigError(
                f"{str(loaded.path)!r} is a language model, which has no head; its log-likelihood can be attributed."
            )
        if model.kind == "variant_classifier":
            raise ConfigError(
                f"{str(loaded.path)!r} reads pairs of sequences; attributions are of single ones. "
                "Compare REF and ALT with `genomix predict`."
            )
        self.model = model
        self.tokenizer = loaded.tokenizer
        names = output_names(loaded)
        if not 0 <= index < len(names):
            raise ConfigError(f"output {index} of a model with {len(names)}: {preview(names)}.")
        is_bases = isinstance(model, TokenClassifier)
        if is_bases and position is None:
            raise ConfigError(
                "the model says a class for each base; name the base whose class is meant (--position)."
            )
        if position is not None and not is_bases:
            raise ConfigError(
                "the model says one thing of a sequence; a position is of models of single bases."
            )
        self.index = index
        self.position = position
        self._is_softmax = model.kind in ("classifier", "token_classifier")
        what = (
            "log-odds of" if self._is_softmax else "logit of" if model.kind == "multilabel" else "predicted"
        )
        where = "" if position is None else f" at base {position + 1}"
        self.name = f"{what} {names[index]}{where}"

    def __call__(self, x: Float[Tensor, "B L 5"]) -> Float[Tensor, " B"]:
        """Return the output of each sequence."""
        with reading(self.model, x, self.tokenizer):
            outputs: Tensor = self.model(ids_of(x, self.tokenizer)).float()
        if self.position is not None:
            if not 0 <= self.position < outputs.shape[1]:
                raise ConfigError(
                    f"base {self.position + 1} of a sequence of {outputs.shape[1]:,}; positions count from 1."
                )
            outputs = outputs[:, self.position]
        if not self._is_softmax or outputs.shape[1] == 1:
            return outputs[:, self.index]
        others = torch.cat([outputs[:, : self.index], outputs[:, self.index + 1 :]], dim=1)
        return outputs[:, self.index] - others.logsumexp(dim=1)


class LogLikelihood:
    """The log-likelihood of a sequence under a language model, in nats; as `genomix likelihood` gives it.

    For a mixture of bases, the log-probabilities of what comes next are mixed alike. The first base and N are not
    scored.

    Args:
        loaded: A language model, on its device.
    """

    name = "log-likelihood (nats)"

    def __init__(self, loaded: LoadedModel) -> None:
        self.model = loaded.language_model
        self.tokenizer = loaded.tokenizer
        self._acgt = letter_ids(loaded.tokenizer)[:4]

    def __call__(self, x: Float[Tensor, "B L 5"]) -> Float[Tensor, " B"]:
        """Return the log-likelihood of each sequence."""
        with reading(self.model, x, self.tokenizer):
            hidden = self.model.hidden_states(ids_of(x, self.tokenizer))
        log_p = self.model.logits(hidden[:, :-1]).float().log_softmax(dim=-1)[..., self._acgt]
        return (log_p * x[:, 1:, : LETTERS.index("N")]).sum(dim=(1, 2))


def output_names(loaded: LoadedModel) -> Sequence[str]:
    """Return the names of a head's outputs; numbers where it has none."""
    model = loaded.model
    if isinstance(model, TokenClassifier):
        n_outputs = model.n_classes
    else:
        assert isinstance(model, SequenceModel)
        n_outputs = model.n_outputs
    names = (loaded.head_info or {}).get("class_names") or [str(number) for number in range(n_outputs)]
    return [str(name) for name in names]
