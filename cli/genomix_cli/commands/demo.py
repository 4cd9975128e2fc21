"""``genomix demo``: the whole path on real data, in one command."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer


def command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for all that is made.")] = Path(
        "demo-output"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 2222,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A few steps of each part, in seconds: does everything work?")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress; only where the report is.")
    ] = False,
) -> None:
    """Pretrain, fine-tune and score on real data that ships with genomix, and write a report.

    Takes about two minutes on two CPU cores. The last line says where report.html is.

    Example: [bold]genomix demo -o demo-output[/bold]
    """
    from genomix.demo.report import write_demo_report
    from genomix.demo.story import run_demo
    from genomix_cli.console import console, progress, say

    started = time.monotonic()
    sizes = {"steps": 20, "max_epochs": 1, "max_variants": 300} if smoke else {}
    result = run_demo(
        output,
        overwrite=overwrite,
        seed=seed,
        command=["genomix", *sys.argv[1:]],
        progress=False if quiet else console,
        make_progress=lambda what, total: progress(what, total, unit="alleles", quiet=quiet),
        say=(lambda line: None) if quiet else (lambda line: say(line, style="bold")),
        **sizes,
    )
    report = write_demo_report(result, output / "report.html")
    if not quiet:
        pretrained, variants = result.pretrained, result.variants
        say("")
        say(
            f"bits per base on held-out bases   {pretrained.held_out.bits_per_base:.3f}"
            f"   (best Markov model {pretrained.markov.bits_per_base:.3f})"
        )
        for name, task in result.finetuned.items():
            say(f"{name} test accuracy            {task.test.accuracy:.3f}   (MCC {task.test.mcc:.3f})")
        low, high = variants.interval
        say(
            f"BRCA1 LOF against the rest, AUROC {variants.auroc:.3f}   (95 % interval {low:.3f} to {high:.3f})"
        )
        say(f"done in {time.monotonic() - started:.0f} s; open the report:", style="bold")
    print(report.resolve())
