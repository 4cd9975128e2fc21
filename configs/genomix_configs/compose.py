"""Configs out of YAML groups and ``key=value`` overrides.

Hydra's compose API does the composing (never ``@hydra.main``, which seizes the working folder, logging and argv); the
result is built into the frozen dataclasses of `genomix.training`. The groups ``model`` and ``task`` are not YAML: their
options are the rows of `genomix.models.registry` and of `genomix_configs.tasks`, so that there is one truth.
"""

import copy
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genomix.models.registry import MODELS, ModelRow
from genomix.training.build import build, dotted_keys, plain, unknown_key
from genomix.training.config import PretrainConfig, untrained
from genomix.training.finetune_config import FinetuneConfig
from genomix_configs.explain import bad_syntax, check_option, one_line
from genomix_configs.tasks import task_recipes
from genomix_data.errors import ConfigError

Kind = Literal["pretrain", "finetune"]

GROUPS = Path(__file__).parent / "groups"
DISTINCT_GROUPS = ("method",)
"""Groups whose options have settings of their own."""
SCHEMAS: dict[str, type[PretrainConfig] | type[FinetuneConfig]] = {
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
}


@overload
def compose(
    kind: Literal["pretrain"], overrides: Sequence[str] = ..., *, config_dir: Path | None = ...
) -> tuple[PretrainConfig, dict[str, Any]]: ...
@overload
def compose(
    kind: Literal["finetune"], overrides: Sequence[str] = ..., *, config_dir: Path | None = ...
) -> tuple[FinetuneConfig, dict[str, Any]]: ...
def compose(
    kind: Kind, overrides: Sequence[str] = (), *, config_dir: Path | None = None
) -> tuple[PretrainConfig | FinetuneConfig, dict[str, Any]]:
    """Return the typed config of a run, and the same as plain values for ``config.yaml``.

    Args:
        kind: Which primary config: ``pretrain`` or ``finetune``.
        overrides: ``group=option`` and ``key=value``, in Hydra's grammar.
        config_dir: Folder with further options, one sub-folder a group; for example ``DIR/trainer/long.yaml`` is
            chosen with ``trainer=long``.

    Raises:
        ConfigError: for a key, option or value that does not exist or is of the wrong type, with what may be meant.
    """
    values = compose_values(kind, overrides, config_dir=config_dir)
    config = build(SCHEMAS[kind], values)
    return config, plain(config)


def compose_onto(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> PretrainConfig:
    """Return the typed config of a pretraining run from the values that it wrote, changed by ``key=value`` overrides.

    Raises:
        ConfigError: as in `compose`; also for a ``group=option`` override, which the values no longer know.
    """
    options = group_options()
    composed = OmegaConf.create(dict(values))
    known = dotted_keys(dict(values))
    for override in _parse(overrides):
        key = override.key_or_group
        if key in options:
            raise ConfigError(
                f"{override.input_line!r}: a resumed run keeps its groups; give single settings."
            )
        if key not in known:
            raise unknown_key(key, known)
        OmegaConf.update(composed, key, override.value())
    plain_values = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(plain_values, dict)
    return build(PretrainConfig, {str(name): value for name, value in plain_values.items()})


def compose_values(
    kind: Kind, overrides: Sequence[str] = (), *, config_dir: Path | None = None
) -> dict[str, Any]:
    """Return the composed values without checking their types; values still to be given are ``???``.

    Raises:
        ConfigError: for a key or option that does not exist, or an override that cannot be read.
    """
    _register_models(kind)
    _register_tasks()
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"the config folder {str(config_dir)!r} does not exist. Check --config-dir.")
    parsed = _parse(overrides)
    options = group_options(config_dir)
    choices: list[Override] = []
    settings: list[Override] = []
    for override in parsed:
        (choices if override.key_or_group in options else settings).append(override)
    for override in choices:
        check_option(override, options)
    if kind == "finetune":
        if _describes_a_model(parsed):
            overrides = [*overrides, "model.init=null"]
        else:
            overrides = [*_of_pretrained(parsed), *overrides]
    search = [f"hydra.searchpath=[file://{config_dir.resolve()}]"] if config_dir else []
    chosen = [str(override.input_line) for override in choices]
    known = dotted_keys(_run_hydra(kind, search + chosen))
    for override in settings:
        if override.key_or_group not in known and not override.is_add():
            raise _misplaced(kind, override.key_or_group, options) or unknown_key(
                override.key_or_group, [*known, *options]
            )
    return _run_hydra(kind, [*search, *overrides])


def trainable_models() -> dict[str, ModelRow]:
    """Return the rows of the registry that can be trained: all of them."""
    return dict(MODELS)


def group_options(config_dir: Path | None = None) -> dict[str, list[str]]:
    """Return the options of every group, e.g. ``{"schedule": ["constant", "cosine"], ...}``."""
    options = {"model": list(trainable_models()), "task": list(task_recipes())}
    for root in (GROUPS, *([config_dir] if config_dir else [])):
        for path in sorted(root.glob("*/**/*.yaml")):
            group, *name = path.relative_to(root).with_suffix("").parts
            options.setdefault(group, []).append("/".join(name))
    return options


def _describes_a_model(overrides: Sequence[Override]) -> bool:
    """Return whether an architecture is chosen or changed and no checkpoint named: one of random weights is meant."""
    keys = [override.key_or_group for override in overrides]
    is_described = any(key == "model" or key.startswith("model.") for key in keys)
    return is_described and "model.init" not in keys


def _of_pretrained(overrides: Sequence[Override]) -> list[str]:
    """Return what a task's recipe sets where all weights of a pretrained model are trained; overrides win over it."""
    given = {override.key_or_group: override.value() for override in overrides}
    recipe = task_recipes().get(str(given.get("task")))
    if recipe is None or given.get("method", "full") != "full" or given.get("model.init", "") is None:
        return []
    settings = ((group, key, value) for group, own in recipe.pretrained.items() for key, value in own.items())
    return [f"{group}.{key}={'null' if value is None else value}" for group, key, value in settings]


def _misplaced(kind: Kind, key: str, options: dict[str, list[str]]) -> ConfigError | None:
    """Return the error for a setting of an option that was not chosen: ``method.rank`` without ``method=lora``."""
    group = key.partition(".")[0]
    if group not in DISTINCT_GROUPS:
        return None
    owners = [
        option for option in options[group] if key in dotted_keys(_run_hydra(kind, [f"{group}={option}"]))
    ]
    if not owners:
        return None
    return ConfigError(f"{key} is a setting of {group}={' or '.join(owners)}; choose that as well.")


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed: list[Override] = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            raise bad_syntax(text) from error
        if parsed[-1].is_sweep_override():
            raise ConfigError(
                f"{text!r} gives several values for one run; run genomix once for each of them."
            )
    return parsed


def _run_hydra(kind: Kind, overrides: list[str]) -> dict[str, Any]:
    if any(override.startswith("hydra.searchpath") for override in overrides):
        return _composed(kind, tuple(overrides))  # files of the user, which may change
    return copy.deepcopy(_composed_of_ours(kind, tuple(overrides)))


@functools.lru_cache(maxsize=64)
def _composed_of_ours(kind: Kind, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Return what our own groups come to; Hydra takes a tenth of a second for it."""
    return _composed(kind, overrides)


def _composed(kind: Kind, overrides: tuple[str, ...]) -> dict[str, Any]:
    try:
        with initialize_config_dir(str(GROUPS), version_base="1.3", job_name="genomix"):
            composed = hydra_compose(kind, overrides=list(overrides))
        values = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"the config cannot be composed: {one_line(error)}") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


@functools.lru_cache(maxsize=1)
def _register_models(kind: Kind) -> None:
    # Anew where the kind changes: a model trained from scratch differs from the published one in a field or two.
    store = ConfigStore.instance()
    for row in trainable_models().values():
        folder, _, size = row.name.rpartition("/")
        config = untrained(row.config) if kind == "pretrain" else row.config
        store.store(
            group=f"model/{folder}",
            name=size,
            node={"name": row.name, **config.to_dict()},
            provider="genomix",
        )


@functools.cache
def _register_tasks() -> None:
    store = ConfigStore.instance()
    for recipe in task_recipes().values():
        folder, _, name = recipe.name.rpartition("/")
        store.store(
            group=f"task/{folder}",
            name=name,
            node=recipe.to_values(),
            package="_global_",
            provider="genomix",
        )
