"""The command ``genomix``: which verbs there are, and how a run ends.

Exit codes: 0 ok; 1 the run failed; 2 usage; 3 bad input; 4 finished with unscored records under ``--strict``;
130 interrupted; 143 terminated.
"""

import errno
import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from genomix import __version__
from genomix_cli.command_group import CommandGroup
from genomix_cli.commands import (
    attribute,
    bench,
    convert,
    data,
    demo,
    doctor,
    embed,
    evaluate,
    evaluate_variants,
    finetune,
    generate,
    index,
    ism,
    likelihood,
    merge,
    models,
    plan,
    predict,
    pretrain,
    report,
    score,
    sweep,
    tile,
)
from genomix_cli.console import close_stdout_quietly, say
from genomix_cli.memory import keep_freed_memory
from genomix_data.errors import GenomixError

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 3, 130, 143

EVALUATE = CommandGroup(
    "Judge a fine-tuned classifier on labelled sequences, or scores on labelled variants.\n\n"
    "Example: [bold]genomix evaluate classifier/model test.csv[/bold] (``model`` may be left out)",
    {"model": evaluate.command, "variants": evaluate_variants.command},
    default="model",
)

VERBS: dict[str, dict[str, Callable[..., None] | CommandGroup]] = {
    "Start here": {"demo": demo.command, "doctor": doctor.command, "models": models.command},
    "Data": {"data": data.command, "index": index.command},
    "Train": {
        "plan": plan.command,
        "pretrain": pretrain.command,
        "finetune": finetune.command,
        "sweep": sweep.command,
    },
    "Use": {
        "score": score.command,
        "merge": merge.command,
        "tile": tile.command,
        "ism": ism.command,
        "likelihood": likelihood.command,
        "embed": embed.command,
        "generate": generate.command,
        "evaluate": EVALUATE,
        "predict": predict.command,
        "report": report.command,
        "attribute": attribute.command,
        "convert": convert.command,
    },
    "Measure": {"bench": bench.command},
}


class InOrder(TyperGroup):
    """Lists verbs in the order of `VERBS`, whether they are commands or groups of them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the verbs."""
        return [verb for commands in VERBS.values() for verb in commands]


app = typer.Typer(
    name="genomix",
    cls=InOrder,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"genomix {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Genomics foundation models: pretrain on genomes, fine-tune on tasks, score variants.

    Start with [bold]genomix demo[/bold]: the whole path on real data, in about two minutes on a laptop.
    """


def ends_well(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a command raises into one line on stderr and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except GenomixError as error:
            raise _fail(str(error), EXIT_BAD_INPUT) from error
        except BrokenPipeError as error:
            close_stdout_quietly()
            raise typer.Exit(0) from error
        except KeyboardInterrupt as error:
            say("interrupted: nothing half-written was left under a final name.", style="yellow")
            raise typer.Exit(EXIT_INTERRUPTED) from error
        except OSError as error:
            raise _fail(*_describe(error)) from error
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if os.environ.get("GENOMIX_DEBUG"):
                traceback.print_exc()
            message = " ".join(str(error).split()) or "no message"
            raise _fail(
                f"{type(error).__name__}: {message}. This is probably a fault in genomix: "
                "run again with GENOMIX_DEBUG=1 and report what it prints.",
                EXIT_FAILED,
            ) from error

    return run


def _describe(error: OSError) -> tuple[str, int]:
    name = str(error.filename) if error.filename else "a file"
    if error.errno == errno.ENOSPC:
        return f"no space left on the device while writing {name}; free some, then run again.", EXIT_FAILED
    if isinstance(error, FileNotFoundError):
        return f"{name!r} does not exist. Check the path.", EXIT_BAD_INPUT
    if isinstance(error, PermissionError):
        return f"no permission to open {name!r}. Check its owner and mode.", EXIT_BAD_INPUT
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return f"{name!r}: {error.strerror}. A file and a folder seem to be swapped.", EXIT_BAD_INPUT
    return f"{error}", EXIT_FAILED


def _fail(message: str, code: int) -> typer.Exit:
    say(f"error: {message}", style="red")
    return typer.Exit(code)


def _on_terminate(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(EXIT_TERMINATED)


for _panel, _commands in VERBS.items():
    for _verb, _command in _commands.items():
        if isinstance(_command, CommandGroup):
            app.add_typer(_command.app(ends_well), name=_verb, rich_help_panel=_panel)
        else:
            app.command(_verb, rich_help_panel=_panel)(ends_well(_command))


def main(argv: list[str] | None = None) -> None:
    """Run ``genomix`` with ``argv`` (default: the process's own) and leave with its exit code."""
    signal.signal(signal.SIGTERM, _on_terminate)
    # Threads that spin while they wait starve each other where cores are shared (a login node, a laptop in use):
    # measured 19 times slower training beside one busy process. Read when torch is imported, so set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    try:
        app(args=argv, prog_name="genomix")
    except KeyboardInterrupt:  # before a verb has begun; the verbs have their own way
        raise SystemExit(EXIT_INTERRUPTED) from None
    except OSError as error:  # help has nowhere to go
        close_stdout_quietly()
        if isinstance(error, BrokenPipeError):
            raise SystemExit(0) from None
        message, code = _describe(error)
        say(f"error: {message}", style="red")
        raise SystemExit(code) from None


if __name__ == "__main__":
    main(sys.argv[1:])
