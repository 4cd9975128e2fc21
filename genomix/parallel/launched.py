"""What a launcher (torchrun, or SLURM through it) has said of this process. Importing this costs no torch."""

import os


def n_launched() -> int:
    """Return how many processes a launcher has started for this run; 1 where there is none."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def is_first_launched() -> bool:
    """Return whether this process speaks for those that a launcher has started."""
    return n_launched() == 1 or os.environ["RANK"] == "0"
