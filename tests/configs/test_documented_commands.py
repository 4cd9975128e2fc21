"""The commands of the pages and recipes compose as they stand."""

import shlex
from pathlib import Path
from typing import Literal

import pytest

from genomix_configs.compose import compose

ROOT = Path(__file__).parents[2]
PAGES = [
    "docs/pretrain.md",
    "docs/finetune.md",
    "recipes/pretrain_yeast/README.md",
    "recipes/finetune_promoters/README.md",
]


def commands(page: str) -> list[tuple[Literal["pretrain", "finetune"], list[str]]]:
    """Every training command of a page, as verb and overrides; those that resume a run have none."""
    found: list[tuple[Literal["pretrain", "finetune"], list[str]]] = []
    for line in (ROOT / page).read_text().splitlines():
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
            compose("finetune", filled)
