"""The options of the group ``task``: a recipe for each data set that a classifier can be trained on.

    task=gb/human_nontata_promoters            our settings
    task=gb-published/human_nontata_promoters  those of the publication, where it gives them

A recipe names the data set and sets what differs from the defaults; whatever stands on the command line wins over it.
The data sets are those of `genomix_data.benchmarks`, so that there is one truth.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from genomix_data.benchmarks import BenchmarkSet, benchmark_sets
from genomix_data.errors import ConfigError

Settings = dict[str, Any]

FAMILIES = {
    "genomic_benchmarks": "gb",
    "nucleotide_transformer": "nt",
    "nucleotide_transformer_revised": "nt-revised",
    "gue": "gue",
    "ienhancer_2l": "ienhancer",
    "cnnprom": "cnnprom",
    "deepsea": "deepsea",
    "mpra": "mpra",
}
"""How each family of data sets is called among the tasks."""


@dataclass(frozen=True, kw_only=True)
class TaskRecipe:
    """One option of the group.

    Args:
        name: ``family/task``.
        benchmark: Name of the data set in the registry; None where the tables are made by the user.
        settings: What differs from the defaults, nested as in YAML.
        pretrained: What differs from those where all weights of a pretrained model are trained: by group.
        source: Where the settings come from.
    """

    name: str
    benchmark: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    pretrained: Mapping[str, Settings] = field(default_factory=dict)
    source: str = "ours"

    def to_values(self) -> Settings:
        """Return the values as they are laid over the defaults."""
        values: Settings = {"task": self.name, **_copy(self.settings)}
        if self.benchmark is not None:
            values.setdefault("data", {})["benchmark"] = self.benchmark
        return values


_PAPER = "Nguyen et al. 2023 (HyenaDNA), appendix A.3 and its configs"
_NT_PAPER = "Nguyen et al. 2023 (HyenaDNA), appendix A.5: 2e-4 to 1e-3, the middle taken"
_CHROMATIN_PAPER = "Nguyen et al. 2023 (HyenaDNA), chromatin profiles"
_SPECIES_PAPER = "Nguyen et al. 2023 (HyenaDNA), species classification at 1 kb"

OUR_DEFAULTS: Settings = {
    "data": {"batch_size": 64},
    "head": {"dropout": 0.1},
    "optimizer": {"lr": 6e-4, "weight_decay": 0.1},
    "schedule": {"warmup_fraction": 0.1, "min_lr_fraction": 0.05},
    "trainer": {"max_epochs": 30, "patience": 8, "monitor": "auroc"},
}
"""Ours, for a binary task of some thousand sequences; larger sets have larger batches and fewer epochs."""

LARGE_SET = 10_000
"""Training sequences beyond which there are larger batches and fewer epochs."""

BOTH_STRANDS: Settings = {"data": {"rc_augment": True}, "head": {"both_strands": True}}
"""For labels that know no strand, such as an enhancer or a bound factor; a promoter is read in one direction."""

_STRANDED = ("promoter", "prom/", "cnnprom/", "splice", "nontata", "coding", "virus")

_ALIGNED_PROMOTERS = ("prom/prom_300_", "tata_vs_nonprom")
"""Promoters of 251 or 300 bp, all cut at the same distance from the start of transcription."""


@functools.cache
def task_recipes() -> Mapping[str, TaskRecipe]:
    """Return every recipe by name."""
    recipes: list[TaskRecipe] = []
    for info in benchmark_sets().values():
        if info.family not in FAMILIES:
            continue
        task = info.name.partition("/")[2]
        family = FAMILIES[info.family]
        recipes.append(
            TaskRecipe(
                name=f"{family}/{task}",
                benchmark=info.name,
                settings=_ours(info),
                pretrained=_ours_from_pretrained(info),
            )
        )
        published, source = _published(info)
        if published:
            recipes.append(
                TaskRecipe(
                    name=f"{family}-published/{task}", benchmark=info.name, settings=published, source=source
                )
            )
    recipes += [
        TaskRecipe(name="species/1k", benchmark=None, settings=_species(OUR_DEFAULTS)),
        TaskRecipe(
            name="species-published/1k",
            benchmark=None,
            settings=_species(
                {
                    "data": {"batch_size": 128},
                    "optimizer": {"lr": 6e-5, "weight_decay": 0.1},
                    "trainer": {"max_epochs": 200, "patience": None},
                }
            ),
            source=_SPECIES_PAPER,
        ),
    ]
    return {recipe.name: recipe for recipe in recipes}


def chosen_tasks(text: str) -> list[str]:
    """Return the names of the recipes in a list of names and patterns: ``gue/tf/*,ienhancer/layer1``.

    Raises:
        ConfigError: if a name or pattern is that of no recipe.
    """
    known = list(task_recipes())
    found: list[str] = []
    for item in text.split(","):
        pattern = item.strip()
        names = [name for name in known if fnmatchcase(name, pattern)]
        if not names:
            close = get_close_matches(pattern, known, n=1, cutoff=0.5) or [
                name for name in known if name.rpartition("/")[2] == pattern
            ]
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"no task is named {pattern!r}.{hint} genomix finetune --list shows all {len(known)}."
            )
        found += [name for name in names if name not in found]
    return found


def _ours(info: BenchmarkSet) -> Settings:
    settings = _copy(OUR_DEFAULTS)
    n = _n_train(info)
    if n > LARGE_SET:
        settings["data"]["batch_size"] = 128
        settings["trainer"] |= {"max_epochs": 20, "patience": 5}
    if n > 60_000:
        settings["data"]["batch_size"] = 256
        settings["trainer"] |= {"max_epochs": 10, "patience": 3}
    if info.kind == "multi-class":
        settings["trainer"]["monitor"] = "mcc"
    if not any(word in info.name for word in _STRANDED):
        settings = _merged(settings, BOTH_STRANDS)
    if info.kind == "multi-label":
        settings["head"] |= {"kind": "multilabel"}
        settings["trainer"] |= {"monitor": "auto"}
    if info.kind == "regression":
        settings["head"] |= {"kind": "regressor"}
        settings["trainer"] |= {"monitor": "auto"}
    if "nontata" in info.name and info.family == "genomic_benchmarks":
        # Negatives are overlapping windows of few places: a random validation part has near copies of them in training.
        settings["data"] |= {"valid_split": "cluster"}
    if set(info.n_sequences) == {"all"}:
        # Published without a split, and everybody splits at random: `data.split=cluster` is the stricter reading.
        settings["data"] |= {"split": "random"}
    return settings


def _ours_from_pretrained(info: BenchmarkSet) -> dict[str, Settings]:
    """Return what was measured with human-2m (docs/benchmarks/finetuning.md): the best epoch is the second or third."""
    is_large = _n_train(info) > LARGE_SET
    settings: dict[str, Settings] = {"trainer": {"max_epochs": 4 if is_large else 5, "patience": None}}
    if is_large:
        settings["data"] = {"batch_size": 256}
    if any(word in info.name for word in ("prom/", "cnnprom/")):
        settings["head"] = {"pooling": "window"}  # where in a promoter something stands matters
    if any(word in info.name for word in _ALIGNED_PROMOTERS):
        settings["head"] |= {"n_windows": 64}  # so that four or five bases are a place
        if "cnnprom/" in info.name and not is_large:
            settings["trainer"] |= {"max_epochs": 10}
    if "nontata" in info.name and info.family == "genomic_benchmarks":
        settings = {
            "trainer": {"max_epochs": 4, "patience": None},
            "optimizer": {"lr": 3e-4},
            "loss": {"class_weights": "balanced"},
            # where negatives are of few places, their other strands are what there is more of
            "data": {"rc_augment": True},
            "head": {"both_strands": True},
        }
    if info.name == "ienhancer_2l/layer1":
        settings = {
            "trainer": {"max_epochs": 10, "patience": None},  # of which the third or fourth is the best
            "optimizer": {"lr": 2e-4},
            "loss": {"label_smoothing": 0.1},
            "head": {"dropout": 0.3},
        }
    return settings


def _n_train(info: BenchmarkSet) -> int:
    return info.n_sequences.get("train", info.n_total or 0)


def _published(info: BenchmarkSet) -> tuple[Settings, str]:
    """Return the settings of the publication of HyenaDNA, and where they stand."""
    if info.family == "genomic_benchmarks":
        return {
            "protocol": "paper",
            "data": {"batch_size": 128},
            "optimizer": {"lr": 6e-4, "weight_decay": 0.1},
            "schedule": {"warmup_fraction": 0.01, "min_lr_fraction": 0.1},
            "trainer": {"max_epochs": 100, "patience": None, "monitor": "accuracy"},
        }, _PAPER
    if info.family == "nucleotide_transformer":
        monitor = {"MCC": "mcc", "F1": "f1", "accuracy": "accuracy"}[info.metric]
        return {
            "protocol": "paper",
            "data": {"batch_size": 256},
            "optimizer": {"lr": 6e-4, "weight_decay": 0.1},
            "trainer": {"max_epochs": 100, "patience": None, "monitor": monitor},
        }, _NT_PAPER
    if info.family == "deepsea":
        return {
            "head": {"kind": "multilabel"},
            "data": {"batch_size": 64},
            "optimizer": {"lr": 6e-4, "weight_decay": 0.1},
            "trainer": {"max_epochs": 50, "patience": None},
        }, _CHROMATIN_PAPER
    return {}, ""


def _species(settings: Settings) -> Settings:
    """Return the settings of species classification: reads of 1 kb, from tables made by ``genomix data species``."""
    found = _copy(settings)
    found["trainer"]["monitor"] = "accuracy"
    return found


def _copy(values: Mapping[str, Any]) -> Settings:
    return {name: _copy(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def _merged(first: Settings, second: Settings) -> Settings:
    merged = _copy(first)
    for name, value in second.items():
        merged[name] = _merged(merged.get(name, {}), value) if isinstance(value, dict) else value
    return merged
