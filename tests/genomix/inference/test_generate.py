"""Generation gives what the official code generates; draws, masks, ends, uneven prompts."""

import json

import numpy as np
import pytest
import torch

from genomix.inference.generate import generate
from genomix.inference.sampling import NonFiniteLogitsError, Sampling, draw
from genomix.models.registry import build_model
from genomix_data.errors import ConfigError, SequenceTooLongError
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from tests.genomix.stripedhyena2_golden import FIXTURES, arrays, official_model, values

BYTES = ByteTokenizer()
GREEDY = Sampling(top_k=1)
RUNS = {
    "greedy": GREEDY,
    "topk4_t1_seed0": Sampling(top_k=4),
    "topk4_topp09_t07_seed0": Sampling(top_k=4, top_p=0.9, temperature=0.7),
}


def _draw_cases() -> dict[tuple[int, float, float], list[int]]:
    with np.load(FIXTURES / "sampler_cases.npz") as stored:
        cases = json.loads(str(stored["cases"]))
    return {tuple(json.loads(f"[{key[1:-1]}]")): ids for key, ids in cases.items() if "|" not in key}


@pytest.mark.parametrize(("settings", "expected"), _draw_cases().items(), ids=str)
def test_draws_are_the_official_ones(settings: tuple[int, float, float], expected: list[int]) -> None:
    top_k, top_p, temperature = settings
    generator = torch.Generator().manual_seed(3)
    sampling = Sampling(top_k=top_k, top_p=top_p, temperature=temperature)
    assert draw(arrays("sampler_cases.npz")["logits"], sampling, generator).tolist() == expected


@pytest.mark.parametrize("chunk", [7, 8192])
@pytest.mark.parametrize("name", RUNS)
def test_tokens_are_the_official_ones(name: str, chunk: int) -> None:
    golden = values("tiny_generation.json")
    run = golden["runs"][f"{name}|force=None"]
    result = generate(
        official_model(),
        BYTES,
        [golden["prompt"]],
        golden["n_tokens"],
        sampling=RUNS[name],
        alphabet=None,
        seed=0,
        prefill_chunk=chunk,
    )[0]
    assert np.clip(result.ids, 32, 512).tolist() == run["codepoints"]
    assert result.mean_log_prob == pytest.approx(run["logprob_mean"], abs=1e-5)


def test_uneven_prompts_give_what_each_gives_alone() -> None:
    prompts = ["A", "ACGTA", "GATTACA" * 20, "CC"]
    together = generate(official_model(), BYTES, prompts, 12, sampling=GREEDY)
    for prompt, result in zip(prompts, together, strict=True):
        alone = generate(official_model(), BYTES, [prompt], 12, sampling=GREEDY)[0]
        assert alone.sequence == result.sequence
        np.testing.assert_allclose(alone.log_probs, result.log_probs, atol=2e-4)


def test_only_letters_of_the_alphabet_are_drawn() -> None:
    result = generate(official_model(), BYTES, ["ACGT"], 50, sampling=Sampling(top_k=0), seed=1)[0]
    assert set(result.sequence) <= set("ACGT")
    assert len(result.sequence) == 50
    assert (result.log_probs < 0).all()


def test_the_seed_decides() -> None:
    one, two, other = (
        generate(official_model(), BYTES, ["ACGT"], 20, sampling=Sampling(top_k=0), seed=seed)[0].sequence
        for seed in (5, 5, 6)
    )
    assert one == two
    assert one != other


def test_an_end_of_sequence_ends_it() -> None:
    class AlwaysEnds(torch.nn.Module):
        """The official model, but for the third new token, where the end is certain."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.seen = official_model(), 0

        init_state = property(lambda self: self.inner.init_state)
        extend = property(lambda self: self.inner.extend)

        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            self.seen += 1
            logits = self.inner.logits(hidden).clone()
            if self.seen == 3:
                logits[:, BYTES.eos_id] = 1e4
            return logits

    result = generate(AlwaysEnds(), BYTES, ["ACGT"], 10, sampling=GREEDY, stop_at_eos=True)[0]
    assert result.stopped
    assert len(result.sequence) == 2
    assert len(result.ids) == len(result.log_probs) == 3


def test_hyenadna_generates_within_its_context() -> None:
    torch.manual_seed(0)
    model = build_model("hyenadna/demo", d_model=16, d_inner=32, l_max=40).eval()
    results = generate(model, CharTokenizer(), ["ACG", "ACGTACGTAC"], 30, sampling=GREEDY)
    assert [len(result.sequence) for result in results] == [30, 30]
    with pytest.raises(SequenceTooLongError, match="l_max = 40"):
        generate(model, CharTokenizer(), ["ACGTACGTAC"], 32, sampling=GREEDY)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_an_error(bad: float) -> None:
    logits = torch.zeros(2, 5)
    logits[1, 3] = bad
    with pytest.raises(NonFiniteLogitsError, match="sequence 2"):
        draw(logits, Sampling())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_bad_sampling(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampling(**options)  # type: ignore[arg-type]


def test_bad_alphabet_and_length() -> None:
    model = build_model("hyenadna/demo", d_model=16, d_inner=32, l_max=40).eval()
    with pytest.raises(ConfigError, match="has no tokens for"):
        generate(model, CharTokenizer.official(), ["ACG"], 3, alphabet="ACGX")
    with pytest.raises(ConfigError, match="n_tokens is 0"):
        generate(model, CharTokenizer(), ["ACG"], 0)
