"""What the training verbs share: their settings, and how they show results."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from genomix_data.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from genomix.inference.predict import TooLong
    from genomix.training.config import PretrainConfig
    from genomix.training.metrics import ClassificationMetrics
    from genomix.training.results import FinetuneResult, PretrainResult


def require_output(output: Path | None, example: str) -> Path:
    """Return the output folder.

    Raises:
        ConfigError: if none was given.
    """
    if output is None:
        raise ConfigError(f"no output folder; give one with -o, for example -o {example}.")
    return output


def print_settings(
    kind: Literal["pretrain", "finetune"], overrides: list[str], config_dir: Path | None
) -> None:
    """Print the composed settings as YAML on stdout; what has still to be given shows as ???."""
    from genomix.training.run_folder import to_yaml
    from genomix_configs.compose import compose_values

    print(to_yaml(compose_values(kind, overrides, config_dir=config_dir)), end="")


def pretraining_settings(
    overrides: list[str], config_dir: Path | None, resumed: Path | None
) -> "PretrainConfig":
    """Return the settings of a run; those of a resumed run are the ones it began with, changed by the overrides."""
    from genomix_configs.compose import compose, compose_onto

    if resumed is None:
        return compose("pretrain", overrides, config_dir=config_dir)[0]
    from genomix.training.run_folder import RunFolder

    return compose_onto(RunFolder(resumed).read_config(), overrides)


def checked_too_long(value: str | None) -> "TooLong | None":
    """Return the choice.

    Raises:
        ConfigError: if it is neither error nor truncate.
    """
    if value not in (None, "error", "truncate"):
        raise ConfigError(f"--too-long is {value!r}; it must be error or truncate.")
    return value  # type: ignore[return-value]  # checked just above


def checked_device(value: str) -> str:
    """Return the device.

    Raises:
        ConfigError: if it is not cpu or cuda, or there is no CUDA device.
    """
    import torch

    if value not in ("cpu", "cuda"):
        raise ConfigError(f"--device is {value!r}; it must be cpu or cuda.")
    if value == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device is cuda, but torch sees no CUDA device here (genomix doctor says why).")
    return value


def show_pretraining(result: "PretrainResult", *, as_json: bool, quiet: bool) -> None:
    """Show what came of pretraining: JSON on stdout if wanted, a few lines on stderr unless quiet."""
    if as_json:
        print(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    if quiet:
        return
    from genomix_cli.console import console, say

    held_out, markov = result.held_out, result.markov
    table = _table("held-out bits per base", "")
    table.add_row(f"this model (step {result.best_step:,})", f"[bold]{held_out.bits_per_base:.4f}[/bold]")
    table.add_row("  over A, C, G, T only", f"{held_out.bits_per_base_acgt:.4f}")
    if held_out.bits_per_base_masked is not None:
        table.add_row("  soft-masked bases only", f"{held_out.bits_per_base_masked:.4f}")
        table.add_row("  all other bases", f"{held_out.bits_per_base_unmasked:.4f}")
    table.add_row(f"Markov model of order {markov.best_order}", f"{markov.bits_per_base:.4f}")
    table.add_row("Markov model of order 0", f"{markov.test[0]:.4f}")
    table.add_row("knowing nothing", "2.0000")
    console.print()
    console.print(table)
    console.print()
    say(
        f"{held_out.n_bases:,} bases scored once | {result.tokens_per_second:,.0f} tokens/s | "
        f"{_duration(result.seconds)}"
    )
    say(f"model   {result.model_folder}")
    say(f"record  {result.folder / 'result.json'}, {result.folder / 'metrics.csv'}", style="dim")


def show_finetuning(result: "FinetuneResult", *, as_json: bool, quiet: bool) -> None:
    """Show what came of fine-tuning: JSON on stdout if wanted, a few lines on stderr unless quiet."""
    if as_json:
        print(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    if quiet:
        return
    from genomix_cli.console import console, say

    console.print()
    for part in metrics_table(result.test):
        console.print(part)
    console.print()
    say(_without_near_copies(result))
    say(
        f"{result.chosen}, chosen by {result.monitor} on {result.n_valid:,} validation "
        f"sequences | {result.sequences_per_second:,.0f} sequences/s | {_duration(result.seconds)}"
    )
    say(f"model   {result.model_folder}")
    say(f"record  {result.folder / 'result.json'}, {result.folder / 'test_predictions.tsv'}", style="dim")


def _without_near_copies(result: "FinetuneResult") -> str:
    """Return the second number of a test: what remains where training holds no near copy."""
    leakage, clean = result.leakage, result.test_clean
    n_near = leakage.total.has_near_copy if leakage is not None else 0
    if not n_near:
        return f"{result.split} split: no test sequence has a near copy in training"
    if clean is None:
        return f"{result.split} split: every test sequence has a near copy in training"
    auroc = "not defined" if clean.auroc is None else f"{clean.auroc:.4f}"
    return (
        f"{result.split} split: {n_near:,} of {result.test.n:,} test sequences have a near copy in training; "
        f"on the other {clean.n:,}: accuracy {clean.accuracy:.4f} | MCC {clean.mcc:.4f} | AUROC {auroc}"
    )


def metrics_table(metrics: "ClassificationMetrics") -> list["RenderableType"]:
    """Return the metrics and the confusion matrix, ready to print."""
    values = _table("metric", f"{metrics.n:,} sequences")
    values.add_row("accuracy", f"{metrics.accuracy:.4f}")
    values.add_row("MCC", f"{metrics.mcc:.4f}")
    values.add_row("F1" if len(metrics.class_names) == 2 else "F1 (macro)", f"{metrics.f1:.4f}")
    values.add_row("AUROC", "not defined" if metrics.auroc is None else f"{metrics.auroc:.4f}")
    values.add_row("cross-entropy (nats)", f"{metrics.loss:.4f}")
    confusion = _table("true \\ predicted", *metrics.class_names)
    for name, row in zip(metrics.class_names, metrics.confusion, strict=True):
        confusion.add_row(name, *(f"{count:,}" for count in row))
    parts: list[RenderableType] = [values, "", confusion]
    parts += [f"note: {note}" for note in metrics.notes]
    return parts


def _table(*columns: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if place else "left", no_wrap=True)
    return table


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
