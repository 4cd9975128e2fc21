"""``genomix attribute``: which bases an output of a model depends on."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from genomix.attribution import Target
    from genomix.checkpoint.native import LoadedModel
    from genomix.inference.regions import Place


def command(
    model: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Fine-tuned or pretrained model: a run folder, or its model."),
    ],
    sequences: Annotated[
        str | None, typer.Argument(metavar="[IN.fa]", help="FASTA, gzip ok; - is standard input.")
    ] = None,
    regions: Annotated[
        str | None, typer.Option("-r", "--region", help="chr1:100-200 instead, with -f; several with commas.")
    ] = None,
    bed: Annotated[Path | None, typer.Option(help="Regions of a BED file instead, with -f.")] = None,
    fasta: Annotated[
        Path | None, typer.Option("-f", "--fasta", "--ref", help="Genome of the regions.")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output",
            help="Output, may be repeated; .tsv .npz .png .svg .pdf, or - for TSV on standard output, the default.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        Literal["ig", "ixg", "ism"],
        typer.Option(help="Integrated gradients, input x gradient, or in-silico mutagenesis."),
    ] = "ig",
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="NAME", help="Class, label or target; default: of classes the predicted one."
        ),
    ] = None,
    position: Annotated[
        int | None,
        typer.Option(min=1, help="Of a model of single bases: the base whose class is meant, from 1."),
    ] = None,
    baseline: Annotated[
        Literal["uniform", "n", "zero", "shuffle"],
        typer.Option(help="What gradients are compared with: a quarter of each base, N, nothing, shuffles."),
    ] = "uniform",
    steps: Annotated[int, typer.Option(min=1, help="Of integrated gradients.")] = 32,
    shuffles: Annotated[int, typer.Option(min=1, help="With --baseline shuffle: how many.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the shuffles.")] = 0,
    strand: Annotated[
        Literal["forward", "both"], typer.Option(help="Both: of the mean of the outputs of both strands.")
    ] = "forward",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sequences at once; default: by memory.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no summary.")] = False,
) -> None:
    """Say what each base adds to an output: of a fine-tuned head, or the log-likelihood of a language model.

    Examples:

        [bold]genomix attribute classifier promoters.fa -o logos.svg -o scores.tsv[/bold]

        [bold]genomix attribute classifier -f ref.fa -r chr1:1,000-1,200 --method ism -o logo.png[/bold]
    """
    from genomix.attribution import attribute
    from genomix.attribution.files import (
        PICTURES,
        Attributed,
        check_outputs,
        check_picture,
        write_attributions,
    )
    from genomix.checkpoint.native import load_model
    from genomix.inference.limits import check_length
    from genomix.variant_effect.engine import pick_device
    from genomix_cli.console import progress, say
    from genomix_data.atomic import refuse_inputs, require_writable

    paths = output or ["-"]
    check_outputs(paths)
    for path in paths:
        refuse_inputs(path, sequences, bed, fasta)
        if path != "-":
            require_writable(path)
    draws = any(path.lower().endswith(PICTURES) for path in paths)
    inputs = list(_inputs(sequences, regions, bed, fasta))
    if draws:
        check_picture(sum(len(letters) for _, letters in inputs))
    where = str(pick_device(device))
    loaded = load_model(model, device=where)
    for place, letters in inputs:
        check_length(
            loaded.config, len(letters), f"{place.name} of {len(letters):,} bp", "Cut it into pieces."
        )
    attributed, gaps = [], []
    n_n = 0
    with progress("attributing", unit="passes", quiet=quiet) as bar:
        for place, letters in inputs:
            target = _target(loaded, letters, class_name, position, where)
            found = attribute(
                target,
                letters,
                method,
                baseline=baseline,
                n_steps=steps,
                n_shuffles=shuffles,
                seed=seed,
                both_strands=strand == "both",
                device=where,
                batch_size=batch_size,
                advance=bar.advance,
            )
            attributed.append(Attributed(place, target.name, found))
            n_n += found.letters.count("N")
            gaps.append(abs(found.gap))
    about = {
        "model": loaded.name,
        "model_sha256": loaded.sha256,
        "method": method,
        "target": ", ".join(sorted({each.target for each in attributed})),
        "strand": strand,
        **({} if method == "ism" else {"baseline": baseline}),
        **({"steps": steps} if method == "ig" else {}),
    }
    write_attributions(paths, attributed, about)
    if not quiet:
        bases = sum(len(each.found.letters) for each in attributed)
        say(
            f"{len(attributed):,} sequence{'' if len(attributed) == 1 else 's'}, {bases:,} bases, {about['target']}"
        )
        if n_n:
            say(f"{n_n:,} bases are N or another ambiguity code", style="yellow")
        if method == "ig":
            say(
                f"integrated gradients add up to within {max(gaps):.3g} (more --steps bring this nearer to 0)"
            )
        if written := [path for path in paths if path != "-"]:
            say(f"written: {', '.join(written)}")


def _inputs(
    sequences: str | None, regions: str | None, bed: Path | None, fasta: Path | None
) -> "Iterator[tuple[Place, str]]":
    from genomix.inference.regions import Place, sequences_of
    from genomix.variant_effect.saturation import regions_on
    from genomix_data.errors import ConfigError
    from genomix_data.genome import Genome
    from genomix_data.regions import Regions

    if regions is None:
        yield from sequences_of(sequences, bed, fasta)
        return
    if sequences is not None or bed is not None:
        raise ConfigError("give the sequences once: a FASTA, or --bed, or -r.")
    if fasta is None:
        raise ConfigError("-r needs the genome of its regions: -f genome.fa.")
    with Genome(fasta) as genome:
        for each in regions_on(genome, Regions.parse(regions)):
            letters = genome.fetch(each.chrom, each.start, each.end).decode("ascii")
            yield Place(each.chrom, each.start, len(each)), letters


def _target(
    loaded: "LoadedModel", letters: str, class_name: str | None, position: int | None, device: str
) -> "Target":
    """Return what is attributed: the class that was named or is predicted, or the log-likelihood."""
    import torch

    from genomix.attribution import HeadOutput, LogLikelihood
    from genomix.attribution.letters import one_hot
    from genomix.attribution.targets import output_names
    from genomix_data.errors import ConfigError, preview

    if loaded.head_info is None:
        if class_name is not None or position is not None:
            raise ConfigError("--class and --position are of models with a head; this is a language model.")
        return LogLikelihood(loaded)
    names = list(output_names(loaded))
    at = None if position is None else position - 1
    if class_name is not None:
        if class_name not in names:
            raise ConfigError(f"--class {class_name!r} is not one of {preview(names, 12)}.")
        return HeadOutput(loaded, names.index(class_name), position=at)
    first = HeadOutput(loaded, 0, position=at)
    if len(names) == 1:
        return first
    if loaded.head_info.get("kind", "classifier") in ("multilabel", "regressor"):
        raise ConfigError(f"the model has {len(names)} outputs; name one with --class: {preview(names, 12)}.")
    x = one_hot(letters)[None].to(device)
    with torch.inference_mode():
        odds = [float(HeadOutput(loaded, index, position=at)(x)[0]) for index in range(len(names))]
    return HeadOutput(loaded, odds.index(max(odds)), position=at)
