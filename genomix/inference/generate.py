"""New sequence from a model: prompts in, tokens and their probabilities out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from genomix.inference.causal import PREFILL_CHUNK, CausalModel, left_padded, prefill
from genomix.inference.decode import Decoder
from genomix.inference.sampling import Sampling, check_finite, draw
from genomix_data.errors import ConfigError
from genomix_data.tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Generated:
    """What followed one prompt.

    Attributes:
        sequence: The new letters, without the prompt and without an end-of-sequence token.
        ids: The new tokens, the end-of-sequence token included if one was drawn.
        log_probs: ``log p`` of each of them in nats under the model's own distribution over its whole vocabulary:
            no temperature, no top-k, no mask.
        stopped: Whether an end-of-sequence token was drawn.
    """

    sequence: str
    ids: NDArray[np.int64]
    log_probs: NDArray[np.float32]
    stopped: bool

    @property
    def mean_log_prob(self) -> float:
        """Mean of `log_probs`."""
        return float(self.log_probs.mean())


def generate(
    model: CausalModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str | bytes],
    n_tokens: int,
    *,
    sampling: Sampling | None = None,
    alphabet: str | None = "ACGT",
    stop_at_eos: bool = False,
    seed: int = 0,
    device: str | torch.device = "cpu",
    prefill_chunk: int = PREFILL_CHUNK,
) -> list[Generated]:
    """Return a continuation of each prompt.

    Args:
        model: In eval mode, on ``device``.
        tokenizer: Of the model.
        prompts: Of any lengths of at least one letter; a prompt's result does not depend on its neighbours when the
            draw is greedy.
        n_tokens: Tokens to draw for each; fewer where one ends.
        sampling: How to draw; top-4 at temperature 1 by default, as the published Evo 2 code.
        alphabet: Letters that may be drawn; None allows every token.
        stop_at_eos: Allow the end-of-sequence token, and end a sequence at it.
        seed: Of the draws.
        device: Where the model is.
        prefill_chunk: Prompt tokens at a time.

    Raises:
        ConfigError: if ``n_tokens`` is not positive, or a letter of the alphabet is not the tokenizer's.
        NonFiniteLogitsError: if the model's logits are not numbers.
        SequenceTooLongError: if prompt and new tokens exceed what the model was built for.
    """
    encoded = [torch.from_numpy(tokenizer.encode(prompt).astype(np.int64)) for prompt in prompts]
    steps = list(
        stream(
            model,
            tokenizer,
            encoded,
            n_tokens,
            sampling=sampling or Sampling(),
            alphabet=alphabet,
            stop_at_eos=stop_at_eos,
            seed=seed,
            device=device,
            prefill_chunk=prefill_chunk,
        )
    )
    ids = torch.stack([step.ids for step in steps], dim=1).cpu().numpy()
    log_probs = torch.stack([step.log_probs for step in steps], dim=1).float().cpu().numpy()
    return [_finish(tokenizer, ids[row], log_probs[row], stop_at_eos) for row in range(len(prompts))]


@dataclass(frozen=True, slots=True)
class Step:
    """One token for each sequence of the batch, and its log probability in nats."""

    ids: Int[Tensor, " B"]
    log_probs: Float[Tensor, " B"]


@torch.inference_mode()
def stream(
    model: CausalModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Int[Tensor, " L"]],
    n_tokens: int,
    *,
    sampling: Sampling,
    alphabet: str | None,
    stop_at_eos: bool,
    seed: int,
    device: str | torch.device,
    prefill_chunk: int = PREFILL_CHUNK,
) -> Iterator[Step]:
    """Yield the tokens of all sequences step by step, as soon as they are drawn; see `generate`."""
    if n_tokens < 1:
        raise ConfigError(f"n_tokens is {n_tokens}; it must be at least 1.")
    generator = torch.Generator(device=device).manual_seed(seed)
    ids, keep = left_padded(prompts, tokenizer.pad_id)
    ids, keep = ids.to(device), None if keep is None else keep.to(device)
    empty = model.init_state(len(prompts), max_len=ids.shape[1] + n_tokens)
    hidden, state = prefill(model, ids, empty, keep=keep, chunk=prefill_chunk)
    decoder = Decoder(model, state)
    forbidden: Bool[Tensor, " V"] | None = None
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for step in range(n_tokens):
        logits = model.logits(hidden[:, -1]).float()
        check_finite(logits)
        if forbidden is None:
            forbidden = _forbidden(tokenizer, alphabet, stop_at_eos, logits.shape[-1]).to(device)
        tokens = draw(logits.masked_fill(forbidden, float("-inf")), sampling, generator)
        tokens = torch.where(ended, tokenizer.eos_id, tokens)
        log_probs = logits.log_softmax(-1).gather(-1, tokens[:, None]).squeeze(-1)
        yield Step(tokens, log_probs)
        if stop_at_eos:
            ended = ended | (tokens == tokenizer.eos_id)
            if bool(ended.all()):
                return
        if step + 1 < n_tokens:
            hidden = decoder.feed(tokens)


def _forbidden(
    tokenizer: Tokenizer, alphabet: str | None, stop_at_eos: bool, n_rows: int
) -> Bool[Tensor, " V"]:
    if alphabet is None:
        return torch.zeros(n_rows, dtype=torch.bool)
    allowed = tokenizer.encode(alphabet)
    if not alphabet or tokenizer.decode(allowed) != alphabet:
        raise ConfigError(
            f"alphabet {alphabet!r} holds letters that the {tokenizer.name} tokenizer has no tokens for; "
            "'ACGT' or 'ACGTN' are usual."
        )
    forbidden = torch.ones(n_rows, dtype=torch.bool)
    forbidden[torch.from_numpy(allowed.astype(np.int64))] = False
    if stop_at_eos:
        forbidden[tokenizer.eos_id] = False
    return forbidden


def _finish(
    tokenizer: Tokenizer, ids: NDArray[np.int64], log_probs: NDArray[np.float32], stop_at_eos: bool
) -> Generated:
    ends = np.flatnonzero(ids == tokenizer.eos_id) if stop_at_eos else np.empty(0, dtype=np.int64)
    stopped = len(ends) > 0
    length = int(ends[0]) + 1 if stopped else len(ids)
    letters = tokenizer.decode(ids[: length - stopped])
    return Generated(letters, ids[:length], log_probs[:length], stopped)
