"""A verb with several commands, of which one is meant where none is named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import typer
from typer.core import TyperGroup

Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class CommandGroup:
    """Commands under one verb.

    Attributes:
        summary: What ``--help`` says of the verb.
        commands: By name.
        default: The command that is meant where the first word names none; it can be called either way.
    """

    summary: str
    commands: Mapping[str, Command]
    default: str

    def app(self, wrap: Callable[[Command], Command]) -> typer.Typer:
        """Return the group for Typer, each of its commands wrapped."""
        default = self.default

        class WithDefault(TyperGroup):
            def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
                if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
                    args = [default, *args]
                return super().parse_args(ctx, args)

        group = typer.Typer(
            cls=WithDefault,
            help=self.summary,
            no_args_is_help=True,
            rich_markup_mode="rich",
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        for name, command in self.commands.items():
            group.command(name)(wrap(command))
        return group
