"""What the training verbs share: their settings, and how they show results."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from genomix_data.errors import ConfigError

MOST_ROWS = 40
"""Labels or targets that a table on the screen shows."""

N_BASES = "data.n_bases="
"""Of ``genomix plan``: how many bases there will be, where there is no genome yet."""

if TYPE_CHECKING:
    from rich.console import RenderableType

    from genomix.inference.predict import TooLong
    from genomix.training.config import PretrainConfig
    from genomix.training.metrics import Metrics
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
    """Print the composed settings as YAML on stdout; what has still to be given shows as ???.

    The architecture is that of the checkpoint that a run starts from, if it starts from one.
    """
    from genomix.training.run_folder import to_yaml
    from genomix_configs.compose import compose_values

    values = compose_values(kind, overrides, config_dir=config_dir)
    if kind == "finetune" and values["model"].get("init") is not None:
        from genomix.training.build import plain
        from genomix.training.config import ModelConfig
        from genomix.training.starting_model import finetuned_model

        values["model"] = plain(finetuned_model(ModelConfig.from_values(values["model"]))[0])
    print(to_yaml(values), end="")


def pretraining_settings(
    overrides: list[str], config_dir: Path | None, resumed: Path | None
) -> "PretrainConfig":
    """Return the settings of a run; those of a resumed run are the ones it began with, changed by the overrides."""
    from genomix_configs.compose import compose, compose_onto

    if resumed is None:
        return compose("pretrain", overrides, config_dir=config_dir)[0]
    from genomix.training.run_folder import RunFolder

    return compose_onto(RunFolder(resumed).read_config(), overrides)


def planned_settings(
    overrides: list[str], config_dir: Path | None
) -> "tuple[PretrainConfig, bool, int | None]":
    """Return the settings of a run that is only planned: whether ``data.fasta`` is given, which may be left out, and
    ``data.n_bases``, which may then stand for it.

    Raises:
        ConfigError: if ``data.n_bases`` is no number, or given beside ``data.fasta``.
    """
    from genomix.training.build import MISSING
    from genomix_configs.compose import compose, compose_values

    counts = [text.partition("=")[2] for text in overrides if text.startswith(N_BASES)]
    settings = [text for text in overrides if not text.startswith(N_BASES)]
    has_genome = compose_values("pretrain", settings, config_dir=config_dir)["data"]["fasta"] != MISSING
    if counts and has_genome:
        raise ConfigError(
            f"{N_BASES}{counts[-1]} stands for genomes that are not there: leave out data.fasta."
        )
    stand_in = [] if has_genome else ["data.fasta=[not-there-yet.fa]"]
    config = compose("pretrain", [*settings, *stand_in], config_dir=config_dir)[0]
    return config, has_genome, _n_bases(counts[-1]) if counts else None


def _n_bases(text: str) -> int:
    try:
        n = float(text.replace("_", ""))
    except ValueError:
        n = 0.0
    if not 1 <= n < 1e15:
        raise ConfigError(f"{N_BASES}{text} is no number of bases; give one such as 3.1e9.")
    return int(n)


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

    held_out, markov, mixture = result.held_out, result.markov, result.interpolated
    is_mixed = held_out.bits_per_base_masked is not None
    columns = ("all", "not masked", "soft-masked") if is_mixed else ("all",)
    table = plain_table("held-out bits per base", *columns)

    def add(name: str, *bits: float | None) -> None:
        shown = ("" if value is None else f"{value:.4f}" for value in bits[: len(columns)])
        table.add_row(name, *shown)

    add(
        f"this model (step {result.best_step:,})",
        held_out.bits_per_base,
        held_out.bits_per_base_unmasked,
        held_out.bits_per_base_masked,
    )
    add("  over A, C, G, T only", held_out.bits_per_base_acgt)
    add(f"Markov model of order {markov.best_order}", markov.bits_per_base, markov.unmasked, markov.masked)
    add(
        f"orders 0 to {mixture.best_order} interpolated",
        mixture.bits_per_base,
        mixture.unmasked,
        mixture.masked,
    )
    add("Markov model of order 0", markov.test[0])
    add("knowing nothing", 2.0)
    console.print()
    console.print(table)
    console.print()
    say(
        f"{held_out.n_bases:,} bases scored once | {result.tokens_per_second:,.0f} tokens/s | "
        f"{_duration(result.seconds)}"
    )
    say(f"model   {result.model_folder}")
    say(f"record  {result.folder / 'result.json'}, {result.folder / 'metrics.csv'}", style="dim")


def show_finetuning(result: "FinetuneResult[Any]", *, as_json: bool, quiet: bool) -> None:
    """Show what came of fine-tuning: JSON on stdout if wanted, a few lines on stderr unless quiet."""
    if as_json:
        print(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    if quiet:
        return
    from genomix_cli.console import console, say

    console.print()
    things = "bases" if result.kind == "token_classifier" else "sequences"
    for part in metrics_table(result.test, things):
        console.print(part)
    console.print()
    say(_without_near_copies(result))
    say(
        f"{result.chosen}, chosen by {result.monitor} on {result.n_valid:,} validation "
        f"sequences | {result.sequences_per_second:,.0f} sequences/s | {_duration(result.seconds)}"
    )
    say(f"model   {result.model_folder}")
    say(f"record  {result.folder / 'result.json'}, {result.folder / 'test_predictions.tsv'}", style="dim")


def _without_near_copies(result: "FinetuneResult[Any]") -> str:
    """Return the second number of a test: what remains where training holds no near copy."""
    leakage, clean = result.leakage, result.test_clean
    n_near = leakage.total.has_near_copy if leakage is not None else 0
    if not n_near:
        return f"{result.split} split: no test sequence has a near copy in training"
    if clean is None:
        return f"{result.split} split: every test sequence has a near copy in training"
    values = " | ".join(f"{name} {_four(value)}" for name, value in clean.headline()[:5])
    n = len(leakage.has_near_copy) if leakage is not None else 0
    return (
        f"{result.split} split: {n_near:,} of {n:,} test sequences have a near copy in training; "
        f"on the other {n - n_near:,}: {values}"
    )


def metrics_table(metrics: "Metrics", things: str = "sequences") -> list["RenderableType"]:
    """Return the metrics, and what belongs to their kind: the confusion matrix, or a row each label or target."""
    from genomix.training.metrics import ClassificationMetrics
    from genomix.training.target_metrics import MultiLabelMetrics, RegressionMetrics

    values = plain_table("metric", f"{metrics.n:,} {things}")
    for name, value in metrics.headline():
        values.add_row(name, _four(value))
    parts: list[RenderableType] = [values]
    if isinstance(metrics, ClassificationMetrics):
        confusion = plain_table("true \\ predicted", *metrics.class_names)
        for name, row in zip(metrics.class_names, metrics.confusion, strict=True):
            confusion.add_row(name, *(f"{count:,}" for count in row))
        parts += ["", confusion, *(f"note: {note}" for note in metrics.notes)]
    elif isinstance(metrics, MultiLabelMetrics):
        labels = plain_table("label", "n", "positive", "AUROC", "AUPRC")
        for label in metrics.labels[:MOST_ROWS]:
            labels.add_row(
                label.name, f"{label.n:,}", f"{label.n_positive:,}", _four(label.auroc), _four(label.auprc)
            )
        parts += ["", labels, *_left_out(len(metrics.labels))]
    elif isinstance(metrics, RegressionMetrics):
        targets = plain_table("target", "n", "Pearson", "Spearman", "R2", "MSE")
        for target in metrics.targets[:MOST_ROWS]:
            numbers = (target.pearson, target.spearman, target.r2, target.mse)
            targets.add_row(target.name, f"{target.n:,}", *(_four(number) for number in numbers))
        parts += ["", targets, *_left_out(len(metrics.targets))]
    return parts


def _left_out(n: int) -> list[str]:
    return [f"and {n - MOST_ROWS:,} more; result.json has all of them"] if n > MOST_ROWS else []


def _four(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"


def plain_table(*columns: str, justify: Literal["left", "right"] = "right") -> Any:
    """Return a table without lines; columns after the first are justified as said."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify=justify if place else "left", no_wrap=True)
    return table


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
