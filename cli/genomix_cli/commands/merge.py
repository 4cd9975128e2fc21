"""``genomix merge``: the outputs of shards as one file."""

from typing import Annotated, Literal

import typer


def command(
    shards: Annotated[
        list[str],
        typer.Argument(metavar="SHARD...", help="Outputs of --shard 1/n to n/n, all of them, in any order."),
    ],
    out: Annotated[
        str, typer.Option("-o", "--output", help="Output, of the kind of the shards; - for standard output.")
    ] = "-",
    output_type: Annotated[
        Literal["v", "z", "b", "u", "t", "p"] | None,
        typer.Option(
            "-O",
            "--output-type",
            help="VCF, VCF.gz, BCF, uncompressed BCF, TSV or Parquet; default: by the suffix.",
        ),
    ] = None,
    write_index: Annotated[
        bool, typer.Option("-W", "--write-index", help="Index the output, which must be sorted.")
    ] = False,
    index_format: Annotated[Literal["csi", "tbi"], typer.Option(help="Kind of index.")] = "csi",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No summary.")] = False,
) -> None:
    """Put the shards of genomix score or genomix tile together, as if the file had been scored whole.

    A shard that is missing, double, cut, changed, or of another run or input is an error.

    Example: [bold]genomix merge part.*.vcf.gz -o out.vcf.gz -W[/bold]
    """
    from genomix.variant_effect import OutputOptions
    from genomix.variant_effect.merge import merge_shards
    from genomix_cli.console import say

    output = OutputOptions(output_type=output_type, write_index=write_index, index_format=index_format)
    summary = merge_shards(shards, out, output)
    if not quiet:
        where = "" if out == "-" else f" -> {out}"
        say(f"{summary.shards:,} shards, {summary.records:,} records{where}")
