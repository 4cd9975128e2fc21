"""A step in place is an extension by one token; on CUDA it is one replayed graph."""

import pytest
import torch

from genomix.inference.decode import Decoder
from genomix.operators.state import map_state
from tests.genomix.stripedhyena2_golden import LOGITS, arrays, assert_close, official_model


@torch.inference_mode()
def test_a_step_in_place_is_extend() -> None:
    model, ids = official_model(), arrays("tiny_forward.npz")["input_ids"][:, :60]
    keep = torch.ones(2, 20, dtype=torch.bool)
    keep[1, :7] = False
    _, state = model.extend(ids[:, :20], model.init_state(2, max_len=60), keep)
    in_place = [map_state(each, torch.clone) for each in state]
    for position in range(20, 60):
        token = ids[:, position : position + 1]
        expected, state = model.extend(token, state)
        assert_close(model.step(token, in_place), expected, 1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [1, 2])
@torch.inference_mode()
def test_a_replayed_graph_is_extend(batch: int) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    model = type(official_model())(official_model().config).eval().cuda()
    model.load_state_dict(official_model().state_dict())
    ids = arrays("tiny_forward.npz")["input_ids"][:batch].long().cuda()
    whole = model(ids[:, :80])
    _, state = model.extend(ids[:, :30], model.init_state(batch, max_len=80))
    decoder = Decoder(model, state)
    for position in range(30, 80):
        hidden = decoder.feed(ids[:, position])
        assert_close(model.logits(hidden)[:, 0], whole[:, position], LOGITS)
