"""Pretraining: a causal language model on genomes, from a config to a run folder.

load and split the genomes -> train by steps, validating and saving now and then -> take the weights that were best
on validation -> score the test bases once, next to Markov models -> write the native checkpoint and result.json
"""

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from genomix.checkpoint.native import save_model
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import build_model
from genomix.provenance import run_record
from genomix.training.build import plain
from genomix.training.cards import language_model_card
from genomix.training.config import PretrainConfig
from genomix.training.held_out import bits_per_base, markov_baseline
from genomix.training.loop import choose_device, own_random_state
from genomix.training.pretrain_loop import PretrainLoop, load_state
from genomix.training.results import LossPoint, PretrainResult, ValidationPoint
from genomix.training.run_folder import RunFolder, check_same_run, load_checkpoint, to_yaml
from genomix.training.screen import Screen
from genomix_data.corpus import Corpus, load_corpus
from genomix_data.errors import ConfigError, InputFileError
from genomix_data.holdout import HeldOut
from genomix_data.lm_dataset import HeldOutWindows, TrainingWindows
from genomix_data.n_policy import NPolicy
from genomix_data.tokenizers import CharTokenizer

if TYPE_CHECKING:
    from rich.console import Console


def pretrain(
    config: PretrainConfig,
    output: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    progress: "bool | Console" = True,
) -> PretrainResult:
    """Train a language model, score it on held-out bases, and return what came of it.

    Args:
        config: What to run.
        output: Run folder; see `genomix.training.run_folder`.
        resume: Continue the run in ``output``.
        overwrite: Replace a run that is there.
        command: Command line, for provenance.
        progress: A rich console to speak through; True makes one on stderr, False says nothing.

    Raises:
        GenomixError: for input that does not fit; before anything is written.
        RunInterruptedError: when SIGINT or SIGTERM stopped the run; its last step is saved.
    """
    started = time.perf_counter()
    folder, screen, data = RunFolder(output), Screen(progress), config.data
    state: dict[str, Any] | None = None
    if resume:
        state = _state_to_resume(config, folder)
    else:
        folder.check_free(overwrite=overwrite)
    device = choose_device(config.trainer)
    corpus = _load(config, screen)
    if state is not None and state["fingerprints"] != list(corpus.fingerprints):
        raise InputFileError(
            "the FASTA files are not those that this run began with. Restore them, or start a new run elsewhere."
        )
    windows = training_windows(corpus, config)
    valid = HeldOutWindows(corpus, "valid", data.seqlen, overlap=data.eval_overlap, limit=data.valid_windows)
    with own_random_state(config.trainer.seed):
        model = build_model(config.model.config).to(device)
        if state is None:
            folder.prepare(to_yaml(plain(config)))
        else:
            model.load_state_dict(state["model"])
        folder.start_metrics(keep_up_to=state["step"] if state else 0)
        loop = PretrainLoop(
            config,
            folder,
            screen,
            model=model,
            windows=windows,
            valid=valid,
            device=device,
            fingerprints=corpus.fingerprints,
            state=state,
        )
        _introduce(screen, config, corpus, device, loop)
        if loop.task.step < config.trainer.max_steps:
            loop.run()
    best = load_checkpoint(folder.best, ("step", "model"))
    model.load_state_dict(best["model"])
    screen.say("  scoring the test bases, once, with the model and with Markov models ...", style="dim")
    return _finish(config, folder, corpus, model, loop, int(best["step"]), command, started)


def _state_to_resume(config: PretrainConfig, folder: RunFolder) -> dict[str, Any]:
    check_same_run(folder.read_config(), plain(config))
    state = load_state(folder)
    if folder.result.exists() and state["step"] >= config.trainer.max_steps:
        raise ConfigError(
            f"the run in {str(folder.path)!r} is complete ({state['step']:,} steps). "
            "Raise trainer.max_steps to train on."
        )
    return state


def training_windows(corpus: Corpus, config: PretrainConfig) -> TrainingWindows:
    """Return the training windows that the settings ask for."""
    data = config.data
    return TrainingWindows(
        corpus,
        data.seqlen,
        seed=config.trainer.seed,
        jitter=data.jitter,
        rc_augment=data.rc_augment,
        add_eos=data.add_eos,
        n_policy=NPolicy.parse(data.n_policy),
        weights=data.weights,
        packing=data.packing,
        soft_mask_weight=data.soft_mask_weight,
    )


def _load(config: PretrainConfig, screen: Screen) -> Corpus:
    data = config.data
    held_out = HeldOut(
        bed=data.bed,
        train=data.train_contigs,
        valid=data.valid_contigs,
        test=data.test_contigs,
        fraction=data.holdout,
    )
    # A gap in the assembly that is longer than a window teaches nothing.
    return load_corpus(
        data.fasta,
        CharTokenizer(),
        held_out,
        longest_n_run=data.seqlen,
        contig_map=data.contig_map,
        notify=screen.say,
    )


def _introduce(
    screen: Screen, config: PretrainConfig, corpus: Corpus, device: torch.device, loop: PretrainLoop
) -> None:
    n_parameters = _n_parameters(loop.task.model)
    screen.say(
        f"pretraining {config.model.name}, {n_parameters:,} parameters, on {corpus.n_bases('train'):,} bases "
        f"({corpus.n_bases('valid'):,} for validation, {corpus.n_bases('test'):,} for the test), {device.type}"
    )
    if loop.windows.n_left_out:
        n_all = len(loop.windows) + loop.windows.n_left_out
        screen.say(
            f"  {loop.windows.n_left_out:,} of {n_all:,} training windows have more N than "
            f"data.n_policy={config.data.n_policy} allows and are left out"
        )
    if loop.task.step:
        screen.say(f"  continuing after step {loop.task.step:,}")


def _n_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _finish(
    config: PretrainConfig,
    folder: RunFolder,
    corpus: Corpus,
    model: HyenaDNA,
    loop: PretrainLoop,
    best_step: int,
    command: Sequence[str] | None,
    started: float,
) -> PretrainResult:
    data = config.data
    test = HeldOutWindows(corpus, "test", data.seqlen, overlap=data.eval_overlap)
    held_out = bits_per_base(model, test, batch_size=data.batch_size, device=loop.device)
    markov = markov_baseline(corpus, config.trainer.markov_order, both_strands=data.rc_augment)
    provenance = run_record(
        command,
        seed=config.trainer.seed,
        device=loop.device.type,
        config=plain(config),
        genomes=list(corpus.fingerprints),
        regions={
            split: [str(region) for region in corpus.regions[split][:1000]] for split in ("valid", "test")
        },
    )
    steps = config.trainer.max_steps
    rows = folder.read_metrics()
    result = PretrainResult(
        folder=folder.path,
        model_folder=folder.model,
        n_parameters=_n_parameters(model),
        steps=steps,
        best_step=best_step,
        n_train_bases=corpus.n_bases("train"),
        n_windows=len(loop.windows),
        n_windows_left_out=loop.windows.n_left_out,
        epochs=loop.epochs,
        history=tuple(
            LossPoint(
                step=int(row["step"]),
                loss=float(row["loss"]),
                lr=float(row["lr"]),
                tokens_per_second=float(row["tokens_per_second"]),
            )
            for row in rows
            if row["loss"]
        ),
        validation=tuple(
            ValidationPoint(step=int(row["step"]), bits_per_base=float(row["valid_bits_per_base"]))
            for row in rows
            if row["valid_bits_per_base"]
        ),
        held_out=held_out,
        held_out_rule=held_out_rule(data.seqlen, data.eval_overlap),
        markov=markov,
        train_seconds=loop.train_seconds,
        seconds=time.perf_counter() - started,
        tokens_per_second=steps * loop.tokens_per_step / max(loop.train_seconds, 1e-9),
        provenance=provenance,
    )
    save_model(
        model,
        folder.model,
        tokenizer=corpus.tokenizer,
        provenance=provenance,
        card=language_model_card(config, result),
    )
    folder.write_result(result.to_dict())
    return result


def held_out_rule(seqlen: int, overlap: int) -> str:
    """Return in words which held-out bases are scored, and with how much context."""
    windows = (
        f"windows of {seqlen} tokens side by side"
        if overlap == 0
        else f"windows of {seqlen} tokens that share {overlap} bases of left context"
    )
    return (
        f"every A, C, G and T of the held-out regions is scored once, but for the first base of a region; {windows}; "
        "no context from outside the region; N never counts; probabilities over all rows of the vocabulary"
    )
