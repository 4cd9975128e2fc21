"""What a resumed pretraining run goes on with: the settings that it began with, its newest state, its length."""

import dataclasses
from typing import Any

from genomix.training.build import plain
from genomix.training.config import ModelConfig, PretrainConfig
from genomix.training.pretrain_loop import STATE_KEYS, still_ended
from genomix.training.ranks import RunRanks
from genomix.training.run_checkpoints import newest_state
from genomix.training.run_folder import RunFolder, check_same_run
from genomix.training.screen import Screen
from genomix_data.errors import ConfigError


def as_begun(config: PretrainConfig, folder: RunFolder) -> PretrainConfig:
    """Return the settings with what the run took from its checkpoint, which need not be there any more."""
    if config.init.checkpoint is None:
        return config
    begun = folder.read_config()
    init = dataclasses.replace(config.init, sha256=begun.get("init", {}).get("sha256"))
    model = ModelConfig.from_values(begun.get("model", {}))
    data = dataclasses.replace(config.data, tokenizer=begun.get("data", {}).get("tokenizer", "auto"))
    return dataclasses.replace(config, init=init, model=model, data=data)


def state_to_resume(
    config: PretrainConfig, folder: RunFolder, ranks: RunRanks, screen: Screen
) -> dict[str, Any]:
    """Return the state to go on from: of the newest checkpoint that can be read.

    Raises:
        ConfigError: if the settings are not those of the run, or it is complete.
        CheckpointError: if there is no such checkpoint.
    """
    check_same_run(folder.read_config(), plain(config))
    state = newest_state(
        folder, ranks, STATE_KEYS, lambda line: screen.say(f"  warning: {line}", style="yellow")
    )
    trainer = with_length(config, state).trainer
    if folder.result.exists() and (state["step"] >= trainer.max_steps or still_ended(config, state)):
        more = "trainer.max_steps" if trainer.max_seconds is None else "trainer.max_seconds"
        is_patience_over = trainer.patience is not None and state.get("since_best", 0) >= trainer.patience
        raise ConfigError(
            f"the run in {str(folder.path)!r} is complete ({state['step']:,} steps). "
            f"Raise {'trainer.patience' if is_patience_over else more} to train on."
        )
    return state


def with_length(config: PretrainConfig, state: dict[str, Any]) -> PretrainConfig:
    """Return the settings of a resumed run, with the steps that its budget of time was found to hold."""
    trainer = config.trainer
    if trainer.max_seconds is None:
        return config
    steps = state.get("max_steps", trainer.max_steps)
    if trainer.max_seconds != state.get("max_seconds"):
        each = state["train_seconds"] / max(state["step"], 1)
        steps = state["step"] + max(0, int((trainer.max_seconds - state["train_seconds"]) / each))
    return dataclasses.replace(config, trainer=dataclasses.replace(trainer, max_steps=max(steps, 1)))
