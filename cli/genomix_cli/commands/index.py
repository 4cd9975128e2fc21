"""``genomix index``: genomes as memory-mapped letters, so that training never waits for them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from genomix_data.token_store import TokenStore


def command(
    fasta: Annotated[
        list[Path],
        typer.Argument(
            metavar="FASTA...",
            help="FASTA (plain or bgzip), 2bit, GenBank, EMBL, or a folder of such files as one genome.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="The store; all files given are then one genome. Default: FASTA.gmx beside each file.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Build nothing; read the store and say whether it is whole and fresh."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build it again, whatever is there.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the stores as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing while it works.")] = False,
) -> None:
    """Build the token store of a genome: one byte a base, memory-mapped, shared by all workers.

    A store that fits is kept as it is; it is built again when the FASTA has changed. The path of each store is printed
    on stdout.

    Example: [bold]genomix index hg38.fa.gz[/bold]
    """
    if check and force:
        raise typer.BadParameter("--check builds nothing, so --force says nothing to it.")
    import time

    from genomix_cli.console import say
    from genomix_data.token_store import check_store, open_store

    genomes: list[Path | list[Path]] = [fasta] if output is not None and len(fasta) > 1 else list(fasta)
    rows: list[dict[str, Any]] = []
    for genome in genomes:
        started = time.monotonic()
        with _bar("checking" if check else "indexing", quiet) as shown:
            if check:
                store = check_store(genome, output, progress=shown)
            else:
                store = open_store(genome, output, rebuild=force, threads=threads, progress=shown)
        rows.append(_describe(store))
        if not quiet:
            seconds = time.monotonic() - started
            done = (
                "whole and fresh"
                if check
                else f"built in {seconds:.1f} s"
                if shown.was_called
                else "up to date"
            )
            build = f", {rows[-1]['assembly']}" if rows[-1]["assembly"] else ""
            n_contigs = f"{len(store.contigs):,} contig{'s' if len(store.contigs) != 1 else ''}"
            say(f"{store.path.name}: {n_contigs}, {store.n_bases:,} bp{build}; {done}")
    print(json.dumps(rows, indent=2) if as_json else "\n".join(row["path"] for row in rows))


class _Shown:
    """A bar that appears when the first bases come, as only then the total is known."""

    def __init__(self, description: str, quiet: bool) -> None:
        self._description = description
        self._quiet = quiet
        self._bar: Any = None
        self._close: Callable[[], object] = lambda: None
        self.was_called = False

    def __call__(self, n: int, total: int) -> None:
        from genomix_cli.console import progress

        if not self.was_called:
            self.was_called = True
            context = progress(self._description, total, unit="bp", quiet=self._quiet)
            self._bar = context.__enter__()
            self._close = lambda: context.__exit__(None, None, None)
        self._bar.advance(n)

    def close(self) -> None:
        self._close()


@contextmanager
def _bar(description: str, quiet: bool) -> Iterator[_Shown]:
    shown = _Shown(description, quiet)
    try:
        yield shown
    finally:
        shown.close()


def _describe(store: "TokenStore") -> dict[str, Any]:
    from genomix_data.assembly import guess_build

    return {
        "path": str(store.path),
        "assembly": guess_build(store.contigs.values()),
        "n_contigs": len(store.contigs),
        "n_bases": store.n_bases,
        "n_n": sum(contig.n_n for contig in store.table.contigs),
        "n_soft_masked": sum(contig.n_masked for contig in store.table.contigs),
        "sources": [source.name for source in store.table.sources],
    }
