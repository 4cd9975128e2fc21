"""``genomix convert``: checkpoints from one layout to another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from genomix.checkpoint.convert import ConversionReport


def command(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Checkpoint: a file, a folder, or the first of split parts.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder (native, hyenadna-hf) or file.")],
    to: Annotated[
        Literal[
            "native",
            "hyenadna-repo",
            "hyenadna-repo-checkpointed",
            "hyenadna-lightning",
            "hyenadna-standalone",
            "hyenadna-hf",
            "vortex",
            "savanna",
        ],
        typer.Option(help="Layout to write; that of IN is read off its keys."),
    ] = "native",
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", help="Registered size that IN is, where its tensors do not tell."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON that describes the model, in our words or the publisher's.")
    ] = None,
    shift: Annotated[
        float | None, typer.Option(help="HyenaDNA: shift of the filters, which no checkpoint stores.")
    ] = None,
    pooling: Annotated[
        Literal["mean", "last", "first", "max"] | None,
        typer.Option(help="HyenaDNA: pooling of a classifier, which no checkpoint stores."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing.")] = False,
) -> None:
    """Convert a checkpoint: published HyenaDNA or Evo 2 weights to a genomix folder, and back.

    Pickles are opened without running what is in them; one that asks for code is refused.

    Example: [bold]genomix convert evo2_7b.pt evo2-7b[/bold]
    """
    import json

    from genomix.checkpoint.convert import convert
    from genomix.checkpoint.describe import Choices
    from genomix.checkpoint.foreign import read_json
    from genomix_data.atomic import atomic_file

    settings = None if config is None else read_json(config)
    done = convert(
        source,
        output,
        to=to,
        choices=Choices(model=model, settings=settings, shift=shift, pooling=pooling),
    )
    if report is not None:
        with atomic_file(report) as temporary:
            temporary.write_text(json.dumps(done.to_dict(), indent=2) + "\n", encoding="utf-8")
    if not quiet:
        _say(done)


def _say(done: "ConversionReport") -> None:
    from genomix_cli.console import say
    from genomix_data.errors import preview

    known = done.is_published_file or ", ".join(done.matches) or "no registered size"
    say(f"{done.source_layout} -> {done.layout}: a {done.model_type} model, {known}")
    if done.is_published_file:
        say(f"the file is the published one of {done.is_published_file} (SHA-256)")
    for note in done.notes:
        say(f"  {note}", style="yellow" if "assumed" in note or "only with" in note else None)
    if done.dropped:
        say(f"  not weights, left out: {preview(done.dropped, 8)}")
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(done.dtypes.items()))
    say(f"  {done.n_tensors:,} tensors ({kinds}), {done.n_bytes / 1e6:,.1f} MB -> {done.output}")
    if done.is_lossless is None:
        say("  too large to be compared on the way back")
    elif done.is_lossless:
        say("  lossless: the way back gives every tensor bit for bit")
    else:
        say(f"  not bit for bit on the way back: {preview(done.changed)}", style="yellow")
