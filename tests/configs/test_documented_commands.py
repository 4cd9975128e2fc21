"""The commands of the pages and recipes compose as they stand."""

import re
import shlex
from pathlib import Path
from typing import Literal

import pytest

from genomix_cli.finetuning_output import tasks_in
from genomix_configs.compose import compose

ROOT = Path(__file__).parents[2]
PAGES = [
    "docs/pretrain.md",
    "docs/distributed.md",
    "docs/finetune.md",
    "recipes/distributed/README.md",
    "recipes/pretrain_yeast/README.md",
    "recipes/pretrain_human/README.md",
    "recipes/pretrain_species/README.md",
    "recipes/pretrain_bacteria/README.md",
    "recipes/continue_pretraining/README.md",
    "recipes/finetune_promoters/README.md",
    "recipes/finetune_suite/README.md",
]

LAUNCHED = re.compile(r"torchrun .*-m genomix_cli.main pretrain |.*recipes/distributed/\S+ ")


def commands(page: str) -> list[tuple[Literal["pretrain", "finetune"], list[str]]]:
    """Every training command of a page, as verb and overrides; those that resume a run have none."""
    found: list[tuple[Literal["pretrain", "finetune"], list[str]]] = []
    for line in (ROOT / page).read_text().splitlines():
        is_launched = LAUNCHED.match(line)  # what stands before the settings starts several processes
        line = f"genomix pretrain {line[is_launched.end() :]}" if is_launched else line
        words = shlex.split(line.replace("$(", "(")) if line.startswith("genomix ") else []
        overrides = [word for word in words if "=" in word]
        if "--resume" in words or "--cfg" in words:
            continue
        if words[1:2] == ["pretrain"]:
            found.append(("pretrain", overrides))
        elif words[1:2] == ["finetune"]:
            found.append(("finetune", overrides))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_training_commands_of_a_page_compose(page: str) -> None:
    found = commands(page)
    assert found, "the page shows at least one command"
    for verb, overrides in found:
        # A shell would have put a path where `$(...)` or $SAMPLES stands.
        filled = [
            f"{word.partition('=')[0]}=file" if "(" in word or "$" in word else word for word in overrides
        ]
        if verb == "pretrain":
            compose("pretrain", filled)
        else:
            tasks, rest = tasks_in(filled)
            for task in tasks[:1]:
                rest = [f"task={task}", *rest]
            compose("finetune", rest)
