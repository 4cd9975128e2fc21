"""Pretraining: a causal language model on genomes, from a config to a run folder.

load and split the genomes -> train by steps, validating and saving now and then -> take the weights that were best
on validation -> score the test bases once, next to context models -> write the native checkpoint and result.json
"""

import dataclasses
import functools
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from genomix.checkpoint.native import LoadedModel, save_model
from genomix.models.families import build_language_model
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.parallel.launched import n_launched
from genomix.provenance import run_record
from genomix.training.baselines import context_baselines
from genomix.training.boards import require_boards
from genomix.training.budget import steps_within
from genomix.training.build import plain
from genomix.training.cards import language_model_card
from genomix.training.config import PretrainConfig
from genomix.training.footprint import shortfall
from genomix.training.held_out import bits_per_base, score_batch_size
from genomix.training.initial import load_initial, with_checkpoint
from genomix.training.loop import choose_device, own_random_state, precision
from genomix.training.machine_memory import available_bytes
from genomix.training.out_of_memory import keeping_less, telling_of_memory
from genomix.training.pretrain_loop import PretrainLoop
from genomix.training.ranks import MeshRanks, RunRanks
from genomix.training.results import LossPoint, PretrainResult, ValidationPoint
from genomix.training.resume import as_begun, state_to_resume, with_length
from genomix.training.run_checkpoints import check_room, telling_of_a_full_disk
from genomix.training.run_folder import RunFolder, to_yaml
from genomix.training.screen import Screen
from genomix.training.stages import Stage, training_stages
from genomix_data.corpus import Corpus, load_corpus
from genomix_data.errors import CheckpointError, InputFileError
from genomix_data.holdout import HeldOut
from genomix_data.lm_dataset import HeldOutWindows

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
    run = functools.partial(
        _pretrain, config, RunFolder(output), resume=resume, overwrite=overwrite, command=command
    )
    shape = config.parallel.settled(n_launched())
    device = choose_device(config.trainer)
    if shape.n_processes == 1:
        with telling_of_a_full_disk(RunFolder(output)):
            return run(RunRanks(), device, Screen(progress))
    from genomix.parallel.processes import joined

    with joined(shape, device) as processes, telling_of_a_full_disk(RunFolder(output)):
        return run(MeshRanks(processes), processes.device, Screen(progress if processes.is_first else False))


def _pretrain(
    config: PretrainConfig,
    folder: RunFolder,
    ranks: RunRanks,
    device: torch.device,
    screen: Screen,
    *,
    resume: bool,
    overwrite: bool,
    command: Sequence[str] | None,
) -> PretrainResult:
    started = time.perf_counter()
    data = config.data
    require_boards(config.trainer)
    state: dict[str, Any] | None = None
    loaded: LoadedModel | None = None
    if resume:
        config = as_begun(config, folder)
        state = state_to_resume(config, folder, ranks, screen)
        config = with_length(config, state)
    else:
        folder.check_free(overwrite=overwrite)
        config, loaded = with_checkpoint(config)
    folder = ranks.folder(folder)
    corpus: Corpus = ranks.turn(
        lambda: load_genomes(config, screen)
    )  # the first may have to index the genomes
    if state is not None and state["fingerprints"] != list(corpus.fingerprints):
        raise InputFileError(
            "the FASTA files are not those that this run began with. Restore them, or start a new run elsewhere."
        )
    stages = training_stages(corpus, config)
    ranks.check(config, stages)
    valid = HeldOutWindows(corpus, "valid", data.seqlen, overlap=data.eval_overlap, limit=data.valid_windows)
    test = HeldOutWindows(corpus, "test", data.seqlen, overlap=data.eval_overlap)
    for held_out in (valid, test):
        held_out.check_not_empty()
    with own_random_state(config.trainer.seed):
        model = build_language_model(config.architecture)
        model.recompute = config.trainer.recompute
        with telling_of_memory(config, model, device, n_processes=ranks.n):
            model.to(device)
        if loaded is not None:
            load_initial(model, loaded, config.init)
        if state is None:
            asked = to_yaml(plain(config))
            trainer = config.trainer
            copies = 3 + (trainer.ema_decay is not None)
            check_room(folder, model, copies=copies, keep=trainer.keep_checkpoints)
            _warn_if_too_large(config, ranks, model, device, screen)
            config = _measured(config, screen, model, stages, device)
            folder.prepare(asked)
        ranks.take(model, data.soft_mask_loss)
        if state is not None:
            state = ranks.complete(state, folder.last, model)
            model.load_state_dict(state["model"])
        folder.start_metrics(keep_up_to=state["step"] if state else 0)
        loop = PretrainLoop(
            config,
            folder,
            screen,
            model=model,
            stages=stages,
            valid=valid,
            device=device,
            fingerprints=corpus.fingerprints,
            state=state,
            ranks=ranks,
        )
        _introduce(screen, config, corpus, device, loop)
        if loop.task.step < config.trainer.max_steps and not loop.ended:
            loop.run()
        if loop.ended:
            screen.say(f"  training ended at step {loop.task.step:,}, {loop.ended}")
    best_step = _take_best(folder, ranks, loop, screen)
    screen.say("  scoring the test bases, once, with the model and with context models ...", style="dim")
    return _finish(config, folder, corpus, model, loop, test, best_step, command, started)


def _warn_if_too_large(
    config: PretrainConfig, ranks: RunRanks, model: torch.nn.Module, device: torch.device, screen: Screen
) -> None:
    """Say before the first step that a batch will probably not fit into the GPU; costs no step."""
    if device.type != "cuda":
        return
    available = available_bytes(device)
    assert available is not None
    warning = shortfall(
        dataclasses.replace(config, parallel=config.parallel.settled(ranks.n)),
        model,
        precision(config.trainer, device),
        available=available,
        total_memory=torch.cuda.get_device_properties(device).total_memory,
    )
    if warning is not None:
        screen.say(f"  warning: {warning}", style="yellow")


def _take_best(folder: RunFolder, ranks: RunRanks, loop: PretrainLoop, screen: Screen) -> int:
    """Put the weights that were best on validation into the model, and return their step."""
    try:
        best = ranks.load(folder.best, ("step", "model"), loop.model)
    except CheckpointError as error:
        screen.say(f"  warning: {error} The weights of the last step are taken instead.", style="yellow")
        loop.take_last()
        return loop.task.step
    loop.model.load_state_dict(best["model"])
    return int(best["step"])


def _measured(
    config: PretrainConfig,
    screen: Screen,
    model: HyenaDNA | StripedHyena2,
    stages: Sequence[Stage],
    device: torch.device,
) -> PretrainConfig:
    """Return the settings with as many steps as the budget of time holds, if there is one."""
    trainer = config.trainer
    if trainer.max_seconds is None:
        return config
    started = time.perf_counter()
    budget = trainer.max_seconds
    steps = keeping_less(
        lambda: steps_within(budget, config, model, stages, device=device),
        config,
        model,
        device,
        lambda text: screen.say(text, style="yellow"),
    )
    took = time.perf_counter() - started
    screen.say(
        f"  {steps:,} steps fit into {trainer.max_seconds:g} s, as measured in {took:.1f} s that are not counted"
    )
    return dataclasses.replace(config, trainer=dataclasses.replace(trainer, max_steps=steps))


def load_genomes(config: PretrainConfig, screen: Screen) -> Corpus:
    """Return the genomes of a run, split.

    Raises:
        GenomixError: if they cannot be read, or the settings do not fit them.
    """
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
        config.tokenizer,
        held_out,
        longest_n_run=data.seqlen,
        contig_map=data.contig_map,
        notify=screen.say,
    )


def _introduce(
    screen: Screen, config: PretrainConfig, corpus: Corpus, device: torch.device, loop: PretrainLoop
) -> None:
    n_parameters = _n_parameters(loop.task.model)
    start = "" if config.init.checkpoint is None else f" from {config.init.checkpoint}"
    screen.say(
        f"pretraining {config.model.description}{start}, {n_parameters:,} parameters, on "
        f"{corpus.n_bases('train'):,} bases ({corpus.n_bases('valid'):,} for validation, "
        f"{corpus.n_bases('test'):,} for the test), {device.type}"
        + (f" x {loop.ranks.n} ({loop.ranks})" if loop.ranks.n > 1 else "")
    )
    windows = loop.stages[-1].windows
    if windows.n_left_out:
        n_all = len(windows) + windows.n_left_out
        screen.say(
            f"  {windows.n_left_out:,} of {n_all:,} training windows have more N than "
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
    model: HyenaDNA | StripedHyena2,
    loop: PretrainLoop,
    test: HeldOutWindows,
    best_step: int,
    command: Sequence[str] | None,
    started: float,
) -> PretrainResult:
    data = config.data
    ranks = loop.ranks
    batch_size = score_batch_size(data.batch_size, data.seqlen, model.config.d_model, loop.device)
    with telling_of_memory(config, model, loop.device, n_processes=ranks.n):
        held_out = bits_per_base(
            model,
            test,
            batch_size=batch_size * ranks.n_batch_parts,
            device=loop.device,
            precision=config.trainer.score_precision,
            ranks=ranks,
        )
    weights = ranks.whole(model.state_dict())
    if not ranks.is_first:
        from_first: PretrainResult = ranks.from_first(None)
        return from_first
    markov, interpolated = context_baselines(
        corpus, config.trainer.markov_order, both_strands=data.rc_augment
    )
    provenance = run_record(
        command,
        seed=config.trainer.seed,
        device=loop.device.type,
        config=plain(config),
        processes=str(ranks),
        genomes=list(corpus.fingerprints),
        regions={
            split: [str(region) for region in corpus.regions[split][:1000]] for split in ("valid", "test")
        },
    )
    rows = folder.read_metrics()
    result = PretrainResult(
        folder=folder.path,
        model_folder=folder.model,
        n_parameters=_n_parameters(model),
        steps=loop.task.step,
        ended=loop.ended,
        best_step=best_step,
        n_train_bases=corpus.n_bases("train"),
        n_windows=len(loop.stages[-1].windows),
        n_windows_left_out=loop.stages[-1].windows.n_left_out,
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
        interpolated=interpolated,
        train_seconds=loop.train_seconds,
        seconds=time.perf_counter() - started,
        tokens=loop.tokens,
        tokens_per_second=loop.tokens / max(loop.train_seconds, 1e-9),
        provenance=provenance,
    )
    save_model(
        model if ranks.n == 1 else _whole_model(config, weights),
        folder.model,
        tokenizer=corpus.tokenizer,
        provenance=provenance,
        card=language_model_card(config, result),
    )
    folder.write_result(result.to_dict())
    ranks.from_first(result)
    return result


def _whole_model(config: PretrainConfig, weights: dict[str, torch.Tensor]) -> HyenaDNA | StripedHyena2:
    """Return the model on the CPU, of weights that were put together from all processes."""
    model = build_language_model(config.architecture)
    model.load_state_dict(weights)
    return model


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
