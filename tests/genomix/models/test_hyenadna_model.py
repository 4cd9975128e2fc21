import copy
import math

import pytest
import torch

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import build_model
from genomix.operators.recompute import Recompute
from genomix_data.errors import SequenceTooLongError
from tests.genomix.golden import tiny_config, values


def random_ids(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(7, 11, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_initial_values_are_distributed_as_the_official_ones() -> None:
    torch.manual_seed(0)
    model = build_model("hyenadna/tiny-1k")
    official = values("init_stats_tiny1k.json")
    parameters = dict(model.named_parameters())
    assert {name for name in official if name in parameters} == set(parameters)
    for name, parameter in parameters.items():
        expected, n = official[name], parameter.numel()
        assert list(parameter.shape) == expected["shape"], name
        if expected["std"] == 0.0:
            assert torch.all(parameter == expected["mean"]), name
            continue
        # both are samples: their deviations differ by about std / sqrt(2 n) each, their means by std / sqrt(n)
        assert parameter.std().item() == pytest.approx(expected["std"], rel=6 / math.sqrt(n)), name
        assert abs(parameter.mean().item() - expected["mean"]) < 6 * expected["std"] / math.sqrt(n), name


def test_weights_into_the_residual_stream_are_rescaled_on_request() -> None:
    for rescale_init, deviation in ((False, 0.02), (True, 0.01)):
        model = HyenaDNA(tiny_config(d_model=128, rescale_init=rescale_init))
        weight = model.get_parameter("backbone.layers.0.mlp.fc2.weight")
        assert weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_state_dict_holds_each_tensor_once_and_nothing_that_can_be_recomputed() -> None:
    state = HyenaDNA(tiny_config()).state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    for part in ("pos_emb", "deltas", "lm_head", "3.freq", "5.freq"):
        assert not [key for key in state if part in key]


def test_a_deep_copy_shares_nothing() -> None:
    model = HyenaDNA(tiny_config())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert all(parameter.abs().sum() > 0 for name, parameter in model.named_parameters() if "freq" in name)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("recompute", ["none", "mixer", "mlp", "block"])
def test_additions_left_to_the_next_norm_change_nothing(recompute: Recompute, dropout: float) -> None:
    torch.manual_seed(6)
    model = HyenaDNA(tiny_config(resid_dropout=dropout)).double().train()
    ids, backbone = random_ids(2, 100), model.backbone

    def deferred() -> torch.Tensor:
        x, update = backbone.embed(ids), None
        for layer in backbone.layers:
            x, update = layer(x, recompute, update, is_deferred=True)
        return backbone.normalize(x, update)

    found = []
    for run in (lambda: backbone(ids), deferred):
        model.zero_grad()
        torch.manual_seed(7)
        hidden = run()
        torch.autograd.backward(hidden, torch.linspace(-1, 1, hidden.numel()).double().view_as(hidden))
        found.append([hidden.detach(), *(p.grad for p in backbone.parameters())])
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(other, plain)


def test_a_sequence_is_scored_the_same_alone_and_in_a_batch_and_whatever_is_padded_behind() -> None:
    torch.manual_seed(4)
    model = HyenaDNA(tiny_config()).eval()
    ids = random_ids(4, 256)
    whole = model(ids)
    for row in range(4):
        torch.testing.assert_close(model(ids[row : row + 1]), whole[row : row + 1], atol=1e-5, rtol=1e-5)
    padded = torch.full((4, 256), 4)
    padded[:, :100] = ids[:, :100]
    torch.testing.assert_close(model(padded)[:, :100], model(ids[:, :100]), atol=1e-5, rtol=1e-5)


def test_logits_of_a_slice_are_a_slice_of_the_logits() -> None:
    for tied in (True, False):
        model = HyenaDNA(tiny_config(tie_embeddings=tied)).eval()
        ids = random_ids(2, 40)
        hidden = model.hidden_states(ids)
        torch.testing.assert_close(model.logits(hidden[:, 10:20]), model(ids)[:, 10:20])


def test_ids_of_one_byte_are_as_good() -> None:
    model = HyenaDNA(tiny_config()).eval()
    ids = random_ids(2, 30)
    assert torch.equal(model(ids.to(torch.uint8)), model(ids))


def test_dropout_is_applied_to_the_embedding_in_training_only() -> None:
    model = HyenaDNA(tiny_config(embed_dropout=0.5))
    ids = random_ids(1, 30)
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_residual_dropout_is_applied_to_every_branch() -> None:
    model = HyenaDNA(tiny_config(embed_dropout=0.0, resid_dropout=0.5))
    ids = random_ids(1, 30)
    assert not torch.equal(model(ids), model(ids))


def test_it_learns_a_repeat() -> None:
    torch.manual_seed(5)
    model = HyenaDNA(tiny_config(embed_dropout=0.0))
    ids = torch.tensor([7, 8, 9, 10]).repeat(2, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 2.5
    assert losses[-1] < 0.3


def test_too_long_or_empty_an_input() -> None:
    model = HyenaDNA(tiny_config())
    with pytest.raises(SequenceTooLongError, match=r"the input has 257 tokens but .* at most 256 \(l_max\)"):
        model(random_ids(1, 257))
    with pytest.raises(ValueError, match=r"ids have shape \(2, 0\); expected \(batch, length >= 1\)"):
        model(torch.zeros(2, 0, dtype=torch.long))
    with pytest.raises(ValueError, match=r"ids have shape \(5,\)"):
        model(torch.zeros(5, dtype=torch.long))


def test_the_kernels_are_a_choice_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(6)
    model = HyenaDNA(tiny_config()).eval()
    ids = random_ids(2, 100)
    automatic = model(ids)
    monkeypatch.setenv("GENOMIX_KERNELS", "reference")
    torch.testing.assert_close(model(ids), automatic, atol=1e-5, rtol=1e-5)


def test_norms_under_autocast_give_what_the_next_product_reads() -> None:
    block = HyenaDNA(tiny_config()).backbone.blocks()[0]
    x, branch = torch.randn(2, 1, 5, block.norm1.weight.shape[0]).unbind()
    assert block.norm1(x).dtype is torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        normed, s = block.norm2(x, branch)
    assert (normed.dtype, s.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(s, x + branch)
