"""``genomix bench training``: from settings to a measurement, and the table of it."""

from collections.abc import Mapping
from typing import Any

from genomix_cli.rows_output import print_rows
from genomix_data.errors import ConfigError

_INSTEAD = {
    "--fasta": "data.fasta=genome.fa",
    "--lengths": "data.seqlen=8192",
    "--device": "trainer.device=cpu",
    "--dtype": "trainer.precision=32-true",
    "--model": "model=hyenadna/tiny-1k",
}


def refuse_options(options: Mapping[str, Any]) -> None:
    """Refuse options of other subjects, which would say nothing here.

    Args:
        options: Their values; None where one is not given.

    Raises:
        ConfigError: naming the setting of a run to give instead.
    """
    for name, value in options.items():
        if value is not None:
            raise ConfigError(
                f"{name} {value}: genomix bench training takes the settings of genomix pretrain instead, such as "
                f"{_INSTEAD[name]}."
            )


def measure_run(settings: list[str], *, seconds: float, rounds: int, limit: float) -> dict[str, Any]:
    """Return what `genomix.bench.training.measure_training` finds; of yeast chromosome I where no genome is given.

    Raises:
        GenomixError: for settings or genomes that do not fit.
    """
    from genomix.training.build import MISSING
    from genomix_cli.console import console
    from genomix_configs.compose import compose, compose_values
    from genomix_data import samples

    if compose_values("pretrain", settings)["data"]["fasta"] == MISSING:
        settings = [*settings, f"data.fasta=['{samples.path('yeast_chrI.fa.gz')}']"]
    config = compose("pretrain", settings)[0]

    # Only now, because Lightning takes seconds to import and a wrong setting should not wait for it.
    from genomix.bench.training import measure_training
    from genomix.training.screen import Screen

    return measure_training(config, seconds=seconds, rounds=rounds, limit=limit, screen=Screen(console))


def print_training(result: Mapping[str, Any]) -> None:
    """Print the rows as a table on stdout."""
    numbers = ("tokens/s", "lowest", "highest", "of step", "at best", "peak GB")
    rows = [
        (
            row["what"],
            *(f"{row[name]:,.0f}" for name in ("tokens_per_s", "lowest", "highest")),
            *(f"{row[name]:,.3f}" for name in ("of_step", "highest_of_step")),
            f"{row['peak_gb']:.2f}",
        )
        for row in result["rows"]
    ]
    print_rows(("what", *numbers), rows, right=numbers)
    print(
        f"{result['model']}, {result['n_parameters']:,} parameters, {result['B']:,} windows of {result['L']:,}, "
        f"{result['precision']}, {result['device']}; of step: median of {result['rounds']}, and at best"
    )
