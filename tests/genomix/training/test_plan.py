import dataclasses
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from genomix.models.families import build_language_model
from genomix.models.registry import MODELS, get_model
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.parallel.shape import MeshShape
from genomix.training import forecast
from genomix.training.baselines import context_model_bytes
from genomix.training.calibration import Pace, calibrate, count_tensors
from genomix.training.config import ModelConfig, PretrainConfig
from genomix.training.costs import Costs, Sample, extrapolated, flops_per_token
from genomix.training.footprint import (
    estimated_activations,
    logit_bytes,
    parts_of,
    shortfall,
    state_bytes,
    tokens_at_once,
    weightless,
)
from genomix.training.lm_loss import LOGITS_AT_ONCE
from genomix.training.machine_memory import held_bytes
from genomix.training.plan import make_plan
from genomix.training.plan_changes import COMFORT, Outlook, changes
from genomix.training.pretrain import load_genomes, pretrain
from genomix.training.run_checkpoints import MARGIN
from genomix.training.screen import Screen
from genomix.training.tensor_bytes import TensorBytes
from genomix_data.errors import ConfigError
from tests.genomix.training_helpers import letters, pretrain_config, tiny_model, write_fasta

GB = 1_000_000_000


@pytest.fixture(autouse=True)
def only_new_garbage() -> Iterator[None]:
    """The collector runs after each sample, and would look through all that the test run has loaded."""
    gc.freeze()
    yield
    gc.unfreeze()


def tiny_sh2() -> ModelConfig:
    config = StripedHyena2Config(
        pattern="SMLA", d_model=32, n_heads=2, d_inner=64, n_groups=4, context_len=256, gelu_blocks=None
    )
    return ModelConfig(name="sh2/7m", config=config)


def planned(model: ModelConfig | None = None, **sections: dict[str, Any]) -> PretrainConfig:
    return pretrain_config(Path("not-there-yet.fa"), model=model, **sections)


@pytest.mark.parametrize("name", ["hyenadna/tiny-1k", "sh2/7m", "evo2/7b_base"])
def test_parts_of_a_model_add_up_to_all_parameters(name: str) -> None:
    parts = parts_of(weightless(MODELS[name].config))
    assert parts.total == MODELS[name].n_parameters
    assert min(parts.embedding, parts.mixers, parts.mlps, parts.norms) > 0


def test_parts_are_what_the_shapes_say() -> None:
    config = tiny_sh2().config
    assert isinstance(config, StripedHyena2Config)
    parts = parts_of(build_language_model(config))
    assert parts.embedding == config.vocab_size * 32
    assert parts.mlps == 4 * 3 * 32 * 64
    assert parts.norms == (2 * 4 + 1) * 32


def test_state_is_what_adamw_holds_and_is_shared_among_ranks_that_share_parameters() -> None:
    config = planned(trainer={"ema_decay": 0.9})
    model = build_language_model(config.architecture)
    n = sum(parameter.numel() for parameter in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randint(7, 11, (1, 8))).sum().backward()
    optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values() if t.ndim]
    state = state_bytes(n, config)
    assert state.optimizer == sum(t.numel() * t.element_size() for t in moments)
    assert state.total == 4 * n * 5
    for shape, share in [
        (MeshShape(data=4), 1),
        (MeshShape(shard=4), 4),
        (MeshShape(context=2), 1),
        (MeshShape(shard=2, context=2), 4),
    ]:
        shared = state_bytes(n, dataclasses.replace(config, parallel=shape))
        assert shared.total == pytest.approx(state.total / share, rel=0.01)


def test_tensors_are_counted_while_they_are_there() -> None:
    x = torch.zeros(1000)
    with TensorBytes() as counted:
        y = x + 1
        z = y.view(10, 100)  # the same storage
        assert counted.peak == 4000
        del y
        w = z * 2
        assert counted.peak == 8000
        del z, w
        _ = x + 1
        assert counted.peak == 8000


@pytest.mark.parametrize(
    ("model", "policy"),
    [(tiny_model(l_max=514), "none"), (tiny_sh2(), "none"), (tiny_sh2(), "block")],
    ids=["hyenadna-none", "stripedhyena2-none", "stripedhyena2-block"],
)
def test_bytes_of_tensors_are_a_plane_through_small_sizes(model: ModelConfig, policy: Any) -> None:
    """What the whole prediction stands on: the terms found at small sizes hold for a batch eight times as large."""
    config = planned(model, trainer={"recompute": policy})
    built = build_language_model(config.architecture)
    built.recompute = policy
    samples = []
    for n, length in [(1, 128), (1, 256), (2, 256)]:
        tensors = count_tensors(config, built, n, length)
        samples.append(Sample(n_windows=n, seqlen=length, seconds=1.0, peak=tensors, tensors=tensors))
    predicted = Costs(config.architecture, tuple(samples)).peak(8, 512)
    assert predicted == pytest.approx(count_tensors(config, built, 8, 512), rel=0.15)


def test_shorter_windows_than_those_measured_are_predicted_too() -> None:
    config = planned(tiny_model(l_max=514), data={"seqlen": 512, "batch_size": 4096})
    model = build_language_model(config.architecture)
    pace = Pace(warm=1, measured=1, enough=0.0, tokens=256)
    where: Any = {"device": torch.device("cpu"), "available": None, "pace": pace}
    costs = calibrate(config, model, "none", n_windows=4096, seqlen=512, **where)
    assert [sample.size for sample in costs.samples] == [(1, 256), (1, 512), (2, 512)]
    base = costs.peak(0, 0)
    whole, half = costs.peak(4096, 512) - base, costs.peak(4096, 256) - base
    assert half == pytest.approx(whole / 2, rel=0.05)


@pytest.mark.parametrize("target", [(1, 4096), (8, 4096), (32, 1024), (4, 512)])
def test_costs_of_three_terms_are_found_again(target: tuple[int, int]) -> None:
    def cost(n_windows: int, seqlen: int) -> float:
        return 7.0 + 0.3 * seqlen + 0.05 * n_windows * seqlen

    sizes = [(1, 256), (1, 512), (1, 1024), (2, 1024), (4, 1024)]
    samples = [Sample(n_windows=n, seqlen=length, seconds=cost(n, length), peak=0) for n, length in sizes]
    assert extrapolated(samples, lambda s: s.seconds, *target) == pytest.approx(cost(*target))


def test_noise_in_times_changes_the_speed_by_no_more_than_a_factor_of_two() -> None:
    noisy = [(1, 256, 9.0), (1, 512, 2.0), (2, 512, 2.5)]  # the first one waited for others
    samples = tuple(Sample(n_windows=n, seqlen=length, seconds=s, peak=0) for n, length, s in noisy)
    costs = Costs(get_model("hyenadna/tiny-1k").config, samples)
    assert 1024 / 2.5 <= 64 * 512 / costs.seconds(64, 512) <= 2 * 1024 / 2.5
    assert 0 < costs.seconds(1, 128) < 2.5


def test_noise_never_makes_a_larger_batch_cheaper_than_a_measured_one() -> None:
    samples = [
        Sample(n_windows=1, seqlen=64, seconds=2.0, peak=0),
        Sample(n_windows=2, seqlen=64, seconds=1.0, peak=0),
    ]
    assert extrapolated(samples, lambda s: s.seconds, 64, 64) == 2.0


def test_logits_stop_growing_where_they_are_made_in_pieces() -> None:
    config = get_model("sh2/7m").config
    most = LOGITS_AT_ONCE // config.vocab_size
    assert logit_bytes(config, 2 * most) == logit_bytes(config, most) == 2 * logit_bytes(config, most // 2)


def test_attention_makes_long_windows_slower_and_hyena_does_not() -> None:
    sh2, hyena = get_model("sh2/7m").config, get_model("hyenadna/tiny-1k").config
    assert flops_per_token(sh2, 65536) > 1.5 * flops_per_token(sh2, 1024)
    assert flops_per_token(hyena, 65536) == flops_per_token(hyena, 1024)


def outlook_of(fixed: int, a_token: int) -> Callable[[PretrainConfig], Outlook]:
    """Return what runs take on a machine where all is linear, and computing again halves what a token takes."""

    def outlook(config: PretrainConfig) -> Outlook:
        kept = 0.5 if config.trainer.recompute in ("mlp", "mixer", "block") else 1.0
        state = fixed // config.parallel.shard
        return Outlook(peak=int(state + kept * a_token * tokens_at_once(config)), seconds=1.0)

    return outlook


def test_of_each_kind_the_smallest_change_that_is_enough_is_named() -> None:
    config = planned(data={"seqlen": 1024, "batch_size": 12}, model=tiny_model(l_max=1026))
    found = changes(config, outlook_of(100, 1), int((100 + 6200) / COMFORT), has_own_memory=True)
    by_name = {change.settings: change for change in found}
    assert all(change.fits for change in found)
    assert by_name["data.batch_size=6 trainer.accumulate=2"].peak == 100 + 6 * 1024
    assert by_name["trainer.recompute=block"].fits
    assert by_name["data.seqlen=512"].peak == 100 + 12 * 512
    assert by_name["parallel.context=2 (2 GPUs)"].tokens_per_second == 12 * 1024


def test_where_no_single_change_is_enough_they_are_combined_or_none_is_said_to_fit() -> None:
    config = planned(data={"seqlen": 128, "batch_size": 8}, model=tiny_model(l_max=130))
    least = planned(
        data={"seqlen": 128, "batch_size": 8}, model=tiny_model(l_max=130), trainer={"recompute": "block"}
    )
    found = changes(least, outlook_of(1000, 10), 3000, has_own_memory=False)
    assert not any("recompute" in change.settings for change in found)
    last = changes(config, outlook_of(1000, 10), 1700, has_own_memory=False)[-1]
    assert last.settings == "trainer.recompute=block data.batch_size=1 trainer.accumulate=8"
    assert not any(
        "GPUs" in c.settings for c in changes(config, outlook_of(1000, 10), 10, has_own_memory=False)
    )
    hopeless = changes(config, outlook_of(1000, 10), 900, has_own_memory=True)
    fitting = [change.settings for change in hopeless if change.fits]
    assert fitting == []
    shared = changes(config, outlook_of(1000, 1), 700, has_own_memory=True)
    assert [c.settings for c in shared if c.fits] == ["parallel.shard=4 (4 GPUs)"]


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", chr1=letters(4000, 1))


def test_a_plan_agrees_with_the_run(genome: Path, tmp_path: Path) -> None:
    config = pretrain_config(genome, trainer={"accumulate": 2, "ema_decay": 0.9, "max_steps": 6})
    plan = make_plan(config, corpus=load_genomes(config, Screen(False)), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    result = pretrain(config, tmp_path / "run", progress=False)
    assert plan.parts.total == result.n_parameters
    assert plan.n_train_bases == result.n_train_bases
    assert plan.epochs == pytest.approx(result.epochs)
    size = (tmp_path / "run" / "checkpoints" / "last.ckpt").stat().st_size
    assert plan.checkpoint_bytes - MARGIN < size < plan.checkpoint_bytes
    assert plan.memory.fits
    assert plan.changes == ()
    assert plan.memory.peak >= plan.memory.base
    assert plan.samples[-1].size == (4, 32)
    assert plan.seconds_per_step is not None
    assert plan.tokens_per_second == pytest.approx(2 * 4 * 32 / plan.seconds_per_step)


def test_a_budget_of_time_becomes_steps() -> None:
    plan = make_plan(planned(trainer={"max_seconds": 5.0}), n_bases=1_000_000)
    assert plan.seconds_per_step is not None
    assert plan.steps == int(5 / plan.seconds_per_step)
    assert plan.hours == pytest.approx(5 / 3600, rel=0.05)
    assert plan.epochs == pytest.approx(plan.steps * 4 * 32 / (1_000_000 * 0.8))


def test_a_run_that_does_not_fit_is_told_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    config = planned(data={"batch_size": 4096})
    base = held_bytes(torch.device("cpu"))
    monkeypatch.setattr(forecast, "available_bytes", lambda device: int(1.02 * base))
    plan = make_plan(config)
    assert plan.memory.fits is False
    assert not plan.fits
    assert plan.samples
    batches = plan.changes[0]
    assert batches.settings.startswith("data.batch_size=")
    assert batches.peak < plan.memory.peak
    assert {"trainer.recompute=block", "trainer.recompute=mlp"} <= {c.settings for c in plan.changes}
    assert all(change.tokens_per_second for change in plan.changes)


def test_a_model_that_is_too_large_to_measure_is_estimated_and_said_to_be() -> None:
    evo2 = ModelConfig(name="evo2/40b_base", config=get_model("evo2/40b_base").config)
    config = planned(evo2, data={"batch_size": 8})
    plan = make_plan(config, n_processes=8, n_bases=3 * GB)
    assert (plan.samples, plan.tokens_per_second, plan.hours) == ((), None, None)
    assert not plan.memory.is_measured
    assert plan.memory.peak > plan.memory.state.total > 600 * GB
    assert "nothing was measured" in plan.notes[0]
    sharded = make_plan(dataclasses.replace(config, parallel=MeshShape(shard=8)))
    assert sharded.memory.state.total == pytest.approx(plan.memory.state.total / 8, rel=1e-6)


def test_processes_have_to_be_arranged_as_in_a_run() -> None:
    with pytest.raises(ConfigError, match="cannot be shared evenly"):
        make_plan(planned(data={"batch_size": 3}), n_processes=2)
    with pytest.raises(ConfigError, match="cannot be split evenly"):
        make_plan(planned(parallel={"context": 3}))


def test_context_models_take_more_where_their_contexts_are_longer() -> None:
    assert context_model_bytes(10**6, 10) == 128 * 4**11
    assert context_model_bytes(10**8, 10) == 128 * 4**12


def test_the_warning_before_the_first_step_comes_only_where_it_is_needed() -> None:
    small = planned()
    model = weightless(small.architecture)
    card = {"available": 79 * GB, "total_memory": 80 * GB}
    assert shortfall(small, model, "bf16-mixed", **card) is None
    sh2 = ModelConfig(name="sh2/7m", config=get_model("sh2/7m").config)
    wide = planned(sh2, data={"seqlen": 8192, "batch_size": 256}, trainer={"recompute": "none"})
    warning = shortfall(wide, weightless(wide.architecture), "bf16-mixed", **card)
    assert warning is not None
    assert "trainer.recompute=block" in warning
    again = planned(sh2, data={"seqlen": 8192, "batch_size": 256}, trainer={"recompute": "block"})
    assert shortfall(again, weightless(again.architecture), "bf16-mixed", **card) is None
    evo2 = ModelConfig(name="evo2/7b_base", config=get_model("evo2/7b_base").config)
    large = planned(evo2, data={"seqlen": 1024, "batch_size": 1})
    warning = shortfall(large, weightless(large.architecture), "bf16-mixed", **card)
    assert warning is not None
    assert "parallel.shard" in warning


def test_estimates_know_every_policy() -> None:
    config = get_model("sh2/7m").config
    by_policy = {
        policy: estimated_activations(config, 8192, policy, "bf16-mixed", 80 * GB)
        for policy in ("none", "auto", "mlp", "mixer", "block")
    }
    assert by_policy["auto"] == by_policy["none"] > by_policy["mlp"] > by_policy["block"] > 0


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "data", "policy"),
    [
        ("hyenadna/small-32k", {"seqlen": 32768, "batch_size": 16}, "none"),
        ("hyenadna/tiny-1k", {"seqlen": 1024, "batch_size": 1024}, "block"),
        ("sh2/7m", {"seqlen": 8192, "batch_size": 16}, "auto"),
        ("sh2/40m", {"seqlen": 8192, "batch_size": 16}, "mlp"),
    ],
    ids=["hyenadna-none", "hyenadna-block", "sh2-auto", "sh2-mlp"],
)
def test_predicted_memory_is_that_of_a_run_on_a_gpu(
    name: str,
    data: dict[str, Any],
    policy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    fasta = write_fasta(tmp_path / "g.fa", chr1=letters(4_000_000, 1))
    config = pretrain_config(
        fasta,
        model=ModelConfig(name=name, config=get_model(name).config),
        data=data,
        trainer={"device": "cuda", "recompute": policy, "max_steps": 6, "validate_every": None},
    )

    # A fast GPU measures the batch of the run itself, which shows nothing: however fast, no more than a quarter of it.
    def calibrated(*args: Any, n_windows: int, **settings: Any) -> Costs:
        return calibrate(*args, n_windows=n_windows // 4, **settings)

    monkeypatch.setattr(forecast, "calibrate", calibrated)
    plan = make_plan(config, corpus=load_genomes(config, Screen(False)))
    assert plan.samples[-1].n_windows <= data["batch_size"] // 4
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    pretrain(config, tmp_path / "run", progress=False)
    measured = torch.cuda.max_memory_allocated()
    record_property("predicted and measured bytes", (plan.memory.most, measured))
    assert plan.memory.most == pytest.approx(measured, rel=0.15)
