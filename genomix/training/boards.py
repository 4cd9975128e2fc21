"""Where the numbers of a pretraining run are shown beside metrics.csv: TensorBoard, Weights & Biases.

Neither is needed by anything else, and neither is imported unless the settings ask for it.
"""

import importlib.util
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from genomix.training.build import plain
from genomix.training.config import PretrainConfig, StepTrainerConfig
from genomix.training.run_folder import RunFolder
from genomix_data.errors import ConfigError

WITHOUT_A_SERVER = ("offline", "disabled", "dryrun")
"""Modes of Weights & Biases (WANDB_MODE) in which nothing is sent."""

_REMEDY = "Run `wandb login`, or set WANDB_MODE=offline and send the run later (wandb sync)."


class Board(Protocol):
    """What shows numbers over steps."""

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Add the numbers of a step."""
        ...

    def close(self) -> None:
        """Write what waits and let go of the files."""
        ...


class TensorBoard:
    """Event files.

    Args:
        folder: Where to.
        start_step: Steps done before; what the files have beyond them is dropped.
    """

    def __init__(self, folder: Path, start_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter  # untyped
        self._writer = writer(str(folder), purge_step=start_step + 1 if start_step else None)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Add the numbers of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what waits and let go of the files."""
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases. Project, entity, name and mode are those of its own variables (WANDB_PROJECT, ...).

    A resumed run goes on under the id of the first. Its steps are a value like others, so that those which are made
    again after a crash may be logged again.

    Args:
        folder: Where its files go, ``wandb`` in the run folder.
        settings: Of the run, shown beside it.

    Raises:
        ConfigError: if it cannot begin, for lack of a login for instance.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        folder.mkdir(exist_ok=True)
        id_file = folder / "run-id"
        if not id_file.exists():
            id_file.write_text(secrets.token_hex(4), encoding="utf-8")
        with _told_to_the_user():
            self._run: Any = wandb.init(
                dir=str(folder.parent),
                id=id_file.read_text(encoding="utf-8"),
                resume="allow"
                if _sends()
                else None,  # offline the id is enough, and asking for more a warning
                config=dict(settings),
                settings=wandb.Settings(silent=True, console="off"),
            )
        self._run.define_metric("*", step_metric="step")

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Add the numbers of a step."""
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """Write, and send, what waits."""
        self._run.finish()


def require_boards(trainer: StepTrainerConfig) -> None:
    """Check that what the settings ask for is there.

    Raises:
        ConfigError: if a package is not installed, or there is no login where one is needed.
    """
    for name in ("tensorboard", "wandb"):
        if getattr(trainer, name) and importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"trainer.{name} needs the package {name}: pip install 'genomix-fm[{name}]'. metrics.csv has the same "
                "numbers without it."
            )
    if trainer.wandb and _sends():
        import wandb

        with _told_to_the_user():
            has_login = wandb.login(prompt=False)
        if not has_login:
            raise ConfigError(f"trainer.wandb: no login is known. {_REMEDY}")


def open_boards(config: PretrainConfig, folder: RunFolder, *, start_step: int) -> list[Board]:
    """Return the boards that the settings ask for; see `require_boards`.

    Args:
        config: Of the run.
        folder: Where their files go.
        start_step: Steps done before.
    """
    boards: list[Board] = []
    if config.trainer.tensorboard:
        boards.append(TensorBoard(folder.tensorboard, start_step))
    if config.trainer.wandb:
        boards.append(WeightsAndBiases(folder.wandb, plain(config)))
    return boards


def _sends() -> bool:
    """Return whether Weights & Biases is to send what it gets: its variables and its own settings files say so."""
    import wandb

    return wandb.setup().settings.mode not in WITHOUT_A_SERVER


@contextmanager
def _told_to_the_user() -> Iterator[None]:
    """Turn an error of Weights & Biases into one of ours."""
    import wandb

    try:
        yield
    except wandb.errors.Error as error:
        raise ConfigError(f"trainer.wandb: {error} {_REMEDY}") from error
