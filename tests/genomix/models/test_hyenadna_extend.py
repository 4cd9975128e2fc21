"""The official HyenaDNA weights, fed in pieces: cached decoding and chunked prefill give the official logits."""

import pytest
import torch

from tests.genomix.golden import assert_close, model_of, tensors, tiny_config


@pytest.mark.parametrize("chunk", [1, 7, 128, 1000])
@pytest.mark.parametrize("prompt", [1, 2, 3, 4, 5, 100])
@torch.inference_mode()
def test_any_prompt_and_any_chunk_gives_the_official_logits(prompt: int, chunk: int) -> None:
    golden = tensors("lm_repo_io.npz")
    ids, model = golden["ids_full"], model_of("lm_repo.safetensors", tiny_config())
    hidden, state = model.extend(ids[:, :prompt], model.init_state(len(ids)))
    pieces = [hidden]
    for begin in range(prompt, ids.shape[1], chunk):
        hidden, state = model.extend(ids[:, begin : begin + chunk], state)
        pieces.append(hidden)
    assert_close(model.logits(torch.cat(pieces, dim=1)), golden["logits_full"])
