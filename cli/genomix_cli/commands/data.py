"""``genomix data``: benchmark data sets by name; what they are, and whether a copy of yours is right."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from genomix_data.benchmarks import BenchmarkSet, CheckReport
    from genomix_data.benchmarks.coordinates import Genomes

Action = Annotated[
    str, typer.Argument(metavar="list|info|check|species", help="What to do.", show_default=False)
]
_MARKS = {"ok": ("ok", "green"), "differs": ("differs", "red"), "note": ("-", "yellow")}


def command(
    action: Action,
    name: Annotated[
        str | None,
        typer.Argument(
            help="A data set, such as human_nontata_promoters; for list, a family; for species, a folder to write.",
            show_default=False,
        ),
    ] = None,
    path: Annotated[
        Path | None, typer.Argument(help="For check: its folder or file on your disk.", show_default=False)
    ] = None,
    genome: Annotated[
        list[str] | None,
        typer.Option(
            "--genome",
            "-g",
            metavar="FASTA",
            help="Genome of the coordinates; CLASS=FASTA where classes have genomes of their own. May be repeated.",
        ),
    ] = None,
    length: Annotated[int, typer.Option(min=1, help="For species: bases of a read.")] = 1024,
    reads: Annotated[
        int,
        typer.Option(min=10, help="For species: reads to train on; a tenth as many validate and test each."),
    ] = 20_000,
    test_contigs: Annotated[
        str, typer.Option(metavar="A,B", help="For species: contigs of the test reads.")
    ] = "chr1,chr3,chr12,chr13",
    seed: Annotated[int, typer.Option(min=0, help="For species: which reads are drawn.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")] = False,
) -> None:
    """List the benchmark data sets that genomix knows, show one in full, or check a copy on your disk.

    Nothing is ever downloaded: info says in words how to get a data set. Exit code 1 if something differs.
    species draws reads of several genomes and writes tables of them, for task=species/1k.

    Examples:

        [bold]genomix data list gue[/bold]

        [bold]genomix data info human_nontata_promoters[/bold]

        [bold]genomix data check human_nontata_promoters promoters/ --genome hg38.fa[/bold]

        [bold]genomix data species reads/ --genome human=hg38.fa --genome mouse=mm10.fa[/bold]
    """
    from genomix_data.errors import ConfigError

    if action == "list":
        _list(name, as_json)
    elif action == "info":
        if name is None:
            raise ConfigError(
                "give the name of a data set: genomix data info NAME (genomix data list shows them)."
            )
        _info(name, as_json)
    elif action == "check":
        if name is None or path is None:
            raise ConfigError("give a data set and where it lies: genomix data check NAME PATH.")
        _check(name, path, genome or [], as_json)
    elif action == "species":
        if name is None:
            raise ConfigError("give the folder to write: genomix data species DIR --genome NAME=FASTA ...")
        sizes = {"train": reads, "valid": reads // 10, "test": reads // 10}
        _species(Path(name), genome or [], length, sizes, test_contigs.split(","), seed)
    else:
        raise ConfigError(f"{action!r} is not one of list, info, check and species (genomix data --help).")


def _species(
    folder: Path, given: Sequence[str], length: int, n: Mapping[str, int], contigs: Sequence[str], seed: int
) -> None:
    from genomix_cli.console import say
    from genomix_data.benchmarks.species import write_species_tables
    from genomix_data.errors import ConfigError

    genomes = _genomes(given)
    if not isinstance(genomes, dict):
        raise ConfigError("give a genome for each species: --genome human=hg38.fa --genome mouse=mm10.fa.")
    written = write_species_tables(genomes, folder, length=length, n=n, test_contigs=contigs, seed=seed)
    for part, path in written.items():
        say(f"{n[part]:,} reads of {length:,} bp -> {path}")


def _list(family: str | None, as_json: bool) -> None:
    from genomix_cli.rows_output import print_rows
    from genomix_data.benchmarks import benchmark_sets
    from genomix_data.errors import ConfigError

    rows = [row for row in benchmark_sets().values() if family is None or row.family == family]
    if not rows:
        families = ", ".join(dict.fromkeys(row.family for row in benchmark_sets().values()))
        raise ConfigError(f"there is no family {family!r} of data sets; there are {families}.")
    if as_json:
        print(json.dumps([row.to_dict() for row in rows], indent=2))
        return
    print_rows(
        ("data set", "task", "classes", "sequences", "length", "what"),
        [(row.name, row.kind, _outputs(row), _sizes(row), _length(row), row.what) for row in rows],
    )


def _info(name: str, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from genomix_data.benchmarks import get_benchmark
    from genomix_data.benchmarks.known_files import known_files

    row = get_benchmark(name)
    files = known_files(row.name)
    if as_json:
        record = row.to_dict() | {"files": {file.file: file.sha256 for file in files}}
        print(json.dumps(record, indent=2))
        return
    details = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    details.add_column(style="bold", no_wrap=True)
    details.add_column(overflow="fold")  # a command that is cut short cannot be copied
    lines = [
        ("data set", row.name),
        ("task", f"{row.kind}: {row.what}"),
        ("classes", ", ".join(row.classes) or _outputs(row)),
        ("sequences", _sizes(row)),
        *((f"  {part}", _counts(counts)) for part, counts in row.n_per_class.items()),
        ("length", _length(row)),
        ("metric", row.metric),
        ("coordinates", row.assembly or "none"),
        ("source", row.source),
        ("licence", row.licence),
        ("cite", row.citation),
        ("to get it", row.obtain),
        ("note", row.note),
        *(("file", f"{file.sha256[:16]}...  {file.file} ({file.what})") for file in files),
    ]
    for key, text in lines:
        if text:
            details.add_row(key, Text(text))
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = 200  # a file or a pipe has no width to fit into
    out.print(details)


def _check(name: str, path: Path, genomes: Sequence[str], as_json: bool) -> None:
    from genomix_data.benchmarks import check_benchmark

    report = check_benchmark(name, path, genomes=_genomes(genomes))
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        _show(report)
    if not report.is_right:
        raise typer.Exit(1)


def _show(report: "CheckReport") -> None:
    from rich.text import Text

    from genomix_cli.console import say
    from genomix_cli.rows_output import print_rows

    print_rows(
        ("part", "what", "published", "here", ""),
        [
            (line.part, line.what, line.expected, line.found, Text(*_MARKS[line.status]))
            for line in report.lines
        ],
        n_head=2,
    )
    differing = sum(line.status == "differs" for line in report.lines)
    say(
        f"{report.info.name}: {'nothing differs' if report.is_right else f'{differing} differ'} "
        f"({sum(line.status == 'ok' for line in report.lines)} of {len(report.lines)} could be confirmed)"
    )


def _genomes(given: Sequence[str]) -> "Genomes | None":
    """Return one genome, or those of the classes.

    Raises:
        ConfigError: if both ways of giving them are mixed, or one is given twice.
    """
    from genomix_data.errors import ConfigError
    from genomix_data.genome import Genome

    if not given:
        return None
    pairs = [(text.split("=", 1)[0], text.split("=", 1)[1]) for text in given if _names_class(text)]
    if not pairs and len(given) == 1:
        return Genome(given[0])
    if len(pairs) < len(given) or len({key for key, _ in pairs}) < len(pairs):
        raise ConfigError(
            "give --genome FASTA once for all classes, or --genome CLASS=FASTA once for each class."
        )
    return {key: Genome(file) for key, file in pairs}


def _names_class(text: str) -> bool:
    return "=" in text and not Path(text).exists()


def _outputs(row: "BenchmarkSet") -> str:
    if row.classes:
        return str(len(row.classes))
    return f"{row.n_targets:,} targets" if row.n_targets else "-"


def _sizes(row: "BenchmarkSet") -> str:
    return " / ".join(f"{n:,}" for n in row.n_sequences.values()) or "-"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())


def _length(row: "BenchmarkSet") -> str:
    if row.length is None:
        return "-"
    low, high = row.length
    return f"{high:,}" if low in (1, high) else f"{low:,}-{high:,}"
