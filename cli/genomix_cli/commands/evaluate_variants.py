"""``genomix evaluate variants``: how well scores separate classes of variants that were measured or curated."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genomix_cli.model_input import DEFAULT_MODEL

if TYPE_CHECKING:
    from genomix.evaluation.variants import VariantEvaluation


def command(
    variants: Annotated[
        str, typer.Argument(metavar="IN", help="Labelled VCF, VCF.gz, BCF, or table (.tsv, .csv, .parquet).")
    ],
    label: Annotated[str, typer.Option(help="INFO key or column that holds the class.")],
    positive: Annotated[
        str, typer.Option(metavar="NAME[,NAME]", help="Classes that are positive, as the file spells them.")
    ],
    negative: Annotated[
        str | None,
        typer.Option(metavar="NAME[,NAME]", help="Classes that are negative; default: all others."),
    ] = None,
    score_field: Annotated[
        list[str] | None,
        typer.Option(
            help="INFO key or column of a score that is there already; may be repeated. Default: GMX_LLR.",
            show_default=False,
        ),
    ] = None,
    higher_means: Annotated[
        Literal["auto", "positive", "negative"],
        typer.Option(
            help="What higher scores speak for; auto: negative for GMX_LLR, GMX_Z and GMX_RANK, else positive."
        ),
    ] = "auto",
    group: Annotated[
        str | None,
        typer.Option(help="INFO key or column, such as a consequence: judge within each value too."),
    ] = None,
    fasta: Annotated[
        Path | None, typer.Option("-f", "--fasta", "--ref", help="Genome; with it the file is scored first.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "-m", "--model", help=f"With -f: language model, as of genomix score; default: {DEFAULT_MODEL}."
        ),
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="With -f: window in bp; default: 1024 or the model's context.")
    ] = None,
    strand: Annotated[
        Literal["both", "forward"], typer.Option(help="With -f: strands that are scored.")
    ] = "both",
    reduce: Annotated[
        Literal["sum", "mean"], typer.Option(help="With -f: over the scored bases of the window.")
    ] = "sum",
    scored: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With -f: keep the scored variants as VCF or BCF.")
    ] = None,
    contig_map: Annotated[
        Path | None, typer.Option(help="With -f: two columns of contig names that mean the same.")
    ] = None,
    device: Annotated[str, typer.Option(help="With -f: auto, cpu, cuda or cuda:N.")] = "auto",
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o", "--output", help="Report to write: .html or .json; may be repeated.", show_default=False
        ),
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Nothing on stderr.")] = False,
) -> None:
    """Judge scores of variants by classes: AUROC and AUPRC with bootstrap intervals, a report with all curves.

    Examples:

        [bold]genomix evaluate variants scored.vcf.gz --label CLASS --positive LOF -o report.html[/bold]

        [bold]genomix evaluate variants brca1.vcf.gz -f ref.fa -m MODEL --label CLASS --positive LOF[/bold]

        [bold]genomix evaluate variants x.vcf.gz --label CLNSIG --positive Pathogenic --negative Benign[/bold]
    """
    from genomix.evaluation.labelled_variants import read_labelled_variants
    from genomix.evaluation.variants import evaluate_scores
    from genomix_cli.console import progress, say

    _check(output or [], fasta, model, score_field, (scored, contig_map, window))
    statuses: dict[str, int] = {}
    about: dict[str, str] = {}
    if fasta is not None:
        model = model or DEFAULT_MODEL
        from genomix.evaluation.scored_now import score_labelled_variants
        from genomix.variant_effect import ScoreOptions

        with progress("scoring", unit="alleles", quiet=quiet) as bar:
            found, summary = score_labelled_variants(
                variants,
                fasta,
                model,
                ScoreOptions(window=window, strand=strand, reduce=reduce, device=device),
                label=label,
                group=group,
                keep=scored,
                contig_map=contig_map,
                progress=bar.advance,
            )
        statuses = {status.value: count for status, count in summary.by_status.items()}
        about = {"model": str(model), "model_sha256": summary.model_sha256}
    else:
        found = read_labelled_variants(
            variants, label=label, score_fields=score_field or ["GMX_LLR"], group=group
        )
    evaluation = evaluate_scores(
        found,
        label=label,
        positive=_names(positive),
        negative=_names(negative),
        higher_means=higher_means,
        n_resamples=resamples,
        seed=seed,
    )
    _write(evaluation, output or [], statuses, about)
    if as_json:
        import json

        print(json.dumps(evaluation.to_dict() | {"by_status": statuses}, indent=2, allow_nan=False))
    else:
        _print(evaluation)
    if not quiet:
        for path in output or []:
            say(f"written: {path}")


def _check(
    outputs: list[Path],
    fasta: Path | None,
    model: Path | None,
    score_fields: list[str] | None,
    of_scoring: tuple[object, ...],
) -> None:
    from genomix_data.atomic import require_writable
    from genomix_data.errors import ConfigError

    for path in outputs:
        if path.suffix.lower() not in (".html", ".json"):
            raise ConfigError(f"-o {str(path)!r}: a report is written as .html or .json; choose one of them.")
        require_writable(path)
    if fasta is None and model is not None:
        raise ConfigError("scoring with -m needs the genome too: -f ref.fa.")
    if fasta is not None and score_fields:
        raise ConfigError("--score-field names scores that are there already; leave it out, or -f and -m.")
    if fasta is None and any(value is not None for value in of_scoring):
        raise ConfigError("--window, --scored and --contig-map are of scoring; give -f ref.fa too.")


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def _write(
    found: "VariantEvaluation", outputs: list[Path], statuses: dict[str, int], about: dict[str, str]
) -> None:
    if not outputs:
        return
    import json

    from genomix.provenance import run_record
    from genomix_data.atomic import atomic_file

    record = run_record(variants=found.variants.source, **about)
    for path in outputs:
        if path.suffix.lower() == ".json":
            content = {"evaluation": found.to_dict(), "by_status": statuses, "provenance": record}
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        else:
            from genomix.report.variant_report import write_variant_report

            write_variant_report(found, path, provenance=record, statuses=statuses)


def _print(found: "VariantEvaluation") -> None:
    from genomix_cli.rows_output import print_rows

    lines = []
    for score in found.scores:
        rows = [
            (found.sides(), score.overall),
            *((found.sides(name), each) for name, each in score.by_class.items()),
            *((f"{name}: {found.sides()}", each) for name, each in score.by_group.items()),
        ]
        for name, each in rows:
            if each is None:
                lines.append((score.name, name, "", "", "one side has no score", "", ""))
                continue
            counts = (f"{each.n_positive:,}", f"{each.n_negative:,}")
            areas = (str(each.auroc), str(each.auprc), f"{each.prevalence:.3f}")
            lines.append((score.name, name, *counts, *areas))
    numbers = ("positives", "negatives", "AUROC", "AUPRC", "chance")
    print_rows(("score", "classes", *numbers), lines, right=numbers, n_head=2, gap=3, header_style="dim")
    left = [f"{found.n_unlabelled:,} without a class"] if found.n_unlabelled else []
    left += [f"{found.n_left_out:,} of other classes"] if found.n_left_out else []
    left += [f"{score.n_unscored:,} without {score.name}" for score in found.scores if score.n_unscored]
    print(f"{len(found.variants):,} alleles; left out: {', '.join(left) or 'none'}")
