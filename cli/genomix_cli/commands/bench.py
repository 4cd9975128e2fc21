"""``genomix bench``: how fast this machine does what genomix needs."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from genomix_cli.kernel_table import print_kernels
from genomix_cli.parallel_bench import measure_processes, print_processes
from genomix_cli.rows_output import print_rows
from genomix_cli.scoring_bench import measure_scores, print_scores
from genomix_cli.training_bench import measure_run, print_training, refuse_options
from genomix_data.errors import ConfigError

_DEFAULT_MODEL = "hyenadna/demo"


class Subject(StrEnum):
    """What can be measured."""

    data = "data"
    vcf = "vcf"
    models = "models"
    kernels = "kernels"
    training = "training"
    score = "score"
    parallel = "parallel"


def command(
    subject: Annotated[
        Subject,
        typer.Argument(
            help="data: how fast a token store feeds a training loop; vcf: VCF in and out; models: whole models; "
            "kernels: every backend of every operation, checked against float64; training: a pretraining step by "
            "itself and fed from genomes; score: variants a second, by mode; parallel "
            "(under torchrun): a training step on one process and on all."
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="training: settings of genomix pretrain; data.fasta: yeast chromosome I if left out.",
            show_default=False,
        ),
    ] = None,
    fasta: Annotated[
        Path | None,
        typer.Option(
            "-f", "--fasta", help="Genome to read; default: 64 Mb of random bases.", show_default=False
        ),
    ] = None,
    vcf: Annotated[
        Path | None, typer.Option(help="VCF to read; default: the BRCA1 sample.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read at once.")] = 2,
    seconds: Annotated[float, typer.Option(min=0.05, help="Time for each measurement.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="training: how often each part is measured.")] = 5,
    limit: Annotated[
        float, typer.Option(min=0, help="training: seconds after which no round is begun.")
    ] = 300.0,
    model: Annotated[
        str,
        typer.Option(
            help="models, score, parallel: a registered name, whose weights are random; score: or a checkpoint, "
            "human-2m too."
        ),
    ] = _DEFAULT_MODEL,
    what: Annotated[str, typer.Option(help="models: of forward,decode,train,chunked.")] = "forward,decode",
    ops: Annotated[
        str, typer.Option(help="kernels: operations.")
    ] = "fftconv,modal_conv,causal_fir,hyena_gated",
    backends: Annotated[
        str | None,
        typer.Option(help="kernels: only these backends and other libraries.", show_default=False),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="kernels: small shapes; always so on a CPU.", show_default=False)
    ] = False,
    lengths: Annotated[
        str | None,
        typer.Option(
            help="models, kernels, score: tokens of a sequence (score: the window); default: 1024, and a list for each "
            "operation.",
            show_default=False,
        ),
    ] = None,
    batches: Annotated[str, typer.Option(help="models, parallel: sequences of a batch.")] = "1",
    axis: Annotated[
        Literal["data", "shard", "context"],
        typer.Option(help="parallel: share batches, parameters, or windows."),
    ] = "data",
    recompute: Annotated[
        Literal["none", "mixer", "mlp", "block", "auto"],
        typer.Option(
            help="parallel: what the backward pass computes again; the longest window is told where it is not auto."
        ),
    ] = "auto",
    shards: Annotated[
        bool, typer.Option("--shards", help="parallel: with --axis context, share parameters too.")
    ] = False,
    alone: Annotated[
        bool, typer.Option("--alone/--no-alone", help="parallel: measure one process too.")
    ] = True,
    steps: Annotated[int, typer.Option(min=1, help="parallel: steps to measure.")] = 3,
    device: Annotated[
        str | None,
        typer.Option(
            help="models, kernels, score: cpu or cuda; default: cpu, and for kernels cuda if there is one.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="models, kernels, score: bf16, fp32 (kernels: fp16); default: fp32, and bf16 for kernels.",
            show_default=False,
        ),
    ] = None,
    modes: Annotated[
        str, typer.Option(help="score: of whole,exact,tiled,horizon,tiled-horizon.")
    ] = "whole,exact,tiled,horizon,tiled-horizon",
    variants: Annotated[
        int, typer.Option(min=1, help="score: SNVs, of the BRCA1 sample, or more at random.")
    ] = 300,
    horizon: Annotated[int, typer.Option(min=1, help="score: bases after the variant, where not all.")] = 128,
    strand: Annotated[Literal["forward", "both"], typer.Option(help="score: strands.")] = "both",
    processes: Annotated[
        int,
        typer.Option(
            min=1, help="score: processes side by side, of a checkpoint; their start is not measured."
        ),
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")] = False,
) -> None:
    """Measure how fast this machine does a thing, beside the simplest way to do it.

    Examples:

        [bold]genomix bench data --fasta hg38.fa --json > data.json[/bold]

        [bold]genomix bench training recipe=sh2/7m data.fasta=hg38.fa --seconds 5 --json > training.json[/bold]
    """
    from genomix import __version__
    from genomix.parallel.launched import is_first_launched, n_launched
    from genomix_cli.console import say

    if settings and subject is not Subject.training:
        raise ConfigError(f"{settings[0]!r}: only genomix bench training takes settings of a run.")
    if subject is Subject.training:
        named = {"--fasta": fasta, "--lengths": lengths, "--device": device, "--dtype": dtype}
        refuse_options({**named, "--model": None if model == _DEFAULT_MODEL else model})
    if subject is Subject.vcf:
        from genomix_data.bench.vcf import measure_vcf

        result = measure_vcf(vcf, seconds=seconds, say=say)
    elif subject is Subject.models:
        from genomix.bench.models import measure_models
        from genomix.provenance import run_record

        result = {
            "meta": run_record(),
            "versions": {},
            "rows": measure_models(
                model,
                what=_listed(what),
                lengths=_numbers("--lengths", lengths or "1024"),
                batches=_numbers("--batches", batches),
                device=device or "cpu",
                dtype=dtype or "fp32",
                say=say,
            ),
        }
    elif subject is Subject.kernels:
        result = _measure_kernels(ops, backends, lengths, device, dtype, quick)
    elif subject is Subject.training:
        result = measure_run(settings or [], seconds=seconds, rounds=rounds, limit=limit)
    elif subject is Subject.parallel:
        result = measure_processes(
            model=model,
            axis=axis,
            lengths=_numbers("--lengths", lengths or "1024"),
            rows=_numbers("--batches", batches)[0],
            dtype=dtype or "bf16",
            device=device,
            steps=steps,
            recompute=recompute,
            shards_parameters=shards,
            alone=alone,
        )
        if not is_first_launched():
            return
    elif subject is Subject.score:
        result = measure_scores(
            model=model,
            modes=_listed(modes),
            variants=variants,
            windows=_numbers("--lengths", lengths or "1024"),
            horizon=horizon,
            strand=strand,
            device=device or "cpu",
            dtype=dtype or "fp32",
            processes=processes,
        )
    else:
        from genomix_data.bench.store import measure

        result = measure(fasta, workers=workers, seconds=seconds, say=say)
    result["versions"] = {"genomix": __version__, **result["versions"]}
    n = n_launched()
    begin = ["genomix"] if n == 1 else ["torchrun", "--nproc-per-node", str(n), "-m", "genomix_cli.main"]
    result["command"] = shlex.join([*begin, *sys.argv[1:]])
    if as_json:
        print(json.dumps(result, indent=2))
    elif subject is Subject.vcf:
        _print_vcf(result)
    elif subject is Subject.models:
        _print_models(result)
    elif subject is Subject.kernels:
        print_kernels(result)
    elif subject is Subject.training:
        print_training(result)
    elif subject is Subject.score:
        print_scores(result)
    elif subject is Subject.parallel:
        print_processes(result)
    else:
        _print_data(result)


def _measure_kernels(
    ops: str, backends: str | None, lengths: str | None, device: str | None, dtype: str | None, quick: bool
) -> dict[str, Any]:
    import torch

    from genomix.provenance import run_record
    from genomix_cli.console import say
    from genomix_kernels.bench import RequestError, measure_kernels

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        result = measure_kernels(
            _listed(ops),
            lengths=None if lengths is None else _numbers("--lengths", lengths),
            dtype=dtype or "bf16",
            device=device,
            quick=quick or device == "cpu",
            backends=None if backends is None else _listed(backends),
            say=say,
        )
    except RequestError as error:
        raise ConfigError(str(error)) from error
    record = run_record()
    result["meta"].update({key: record[key] for key in ("commit", "command", "processor")})
    result["versions"] = {}
    return result


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in _listed(text)]
    except ValueError as error:
        raise ConfigError(
            f"{option} is {text!r}; give whole numbers with commas between, as in {option} 1024,8192."
        ) from error


def _print_models(result: dict[str, Any]) -> None:
    numbers = ("L", "B", "ms", "tokens/s", "peak GB")
    rows = [
        (
            row["model"],
            row["mode"] or row["what"],
            f"{row['L']:,}",
            str(row["B"]),
            f"{row['ms']:,.2f}",
            f"{row['tokens_per_s']:,.0f}",
            f"{row['peak_gb']:.1f}",
        )
        for row in result["rows"]
    ]
    print_rows(("model", "what", *numbers), rows, right=numbers, n_head=2)


def _print_vcf(result: dict[str, Any]) -> None:
    rows = [(row["what"], f"{row['records_per_second']:,}") for row in result["rows"]]
    print_rows(("what", "records/s"), rows, right=("records/s",))


def _print_data(result: dict[str, Any]) -> None:
    numbers = ("window", "batch", "workers", "M tokens/s", "of numpy slicing")
    rows = []
    for row in result["rows"]:
        ratio = row["ratio_to_numpy"]
        rows.append(
            (
                row["what"],
                f"{row['window']:,}" if row["window"] else "-",
                f"{row['batch']:,}" if row["batch"] else "-",
                str(row["workers"]),
                f"{row['million_tokens_per_second']:,.0f}",
                f"{ratio:.2f} x" if ratio is not None else "-",
            )
        )
    print_rows(("what", *numbers), rows, right=numbers)
