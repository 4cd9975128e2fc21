"""The options of ``genomix score`` that say where it runs: in this process, or on a Ray cluster."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from genomix.variant_effect.ray_cluster import RayOptions

_PANEL = "Many variants"

EngineOption = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="Local: this machine. Ray: shards on a Ray cluster, merged (pip install 'genomix-fm\\[ray]').",
        rich_help_panel=_PANEL,
    ),
]
RayWorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="With --engine ray: processes that score; default: one a GPU, without GPUs one a CPU.",
        rich_help_panel=_PANEL,
    ),
]
RayGpusOption = Annotated[
    float | None,
    typer.Option(
        metavar="PART",
        help="With --engine ray: GPUs of a worker, 1 or a part such as 0.5, so that two share one; default: 1.",
        rich_help_panel=_PANEL,
    ),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="With --engine ray: a cluster that runs; default: RAY_ADDRESS, or else one of this machine.",
        rich_help_panel=_PANEL,
    ),
]


def ray_options(
    engine: str,
    address: str | None,
    workers: int | None,
    gpus: float | None,
    threads: int | None,
    shard: str | None,
    quiet: bool,
) -> "RayOptions | None":
    """Return the cluster that was asked for; None for this process.

    Raises:
        ConfigError: if an option is of the other engine.
    """
    from genomix_data.errors import ConfigError

    if engine != "ray":
        given = {"--ray-workers": workers, "--ray-gpus": gpus, "--ray-address": address}
        for name, value in given.items():
            if value is not None:
                raise ConfigError(f"{name} is of --engine ray; add that, or leave {name} out.")
        return None
    if shard is not None:
        raise ConfigError(
            f"--engine ray makes the shards itself and merges them; leave out --shard {shard}, or --engine ray."
        )
    from genomix.variant_effect.ray_cluster import RayOptions

    return RayOptions(address=address, workers=workers, gpus=gpus, threads=threads, forward_logs=not quiet)
