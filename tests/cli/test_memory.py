"""Freed memory is kept for the next tensor."""

import json
import os
import platform
import subprocess
import sys

import pytest

PROBE = """
import json, resource, sys
from genomix_cli.memory import keep_freed_memory

is_kept = keep_freed_memory() if sys.argv[1] == "keep" else None
import torch

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(10_000_000)  # 40 MB: 10,000 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for _ in range(5):  # until every size of block has found its place
    faults()
print(json.dumps([is_kept, faults()]))
"""


def probe(mode: str, **environment: str) -> list[int | bool | None]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROBE, mode]
    done = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=True)
    found: list[int | bool | None] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_tensors_of_one_size_take_the_same_pages() -> None:
    _, without = probe("leave")
    is_kept, with_it = probe("keep")
    assert is_kept is True
    assert without is not None
    assert with_it is not None
    assert with_it < without / 10


def test_what_the_user_has_set_stays() -> None:
    is_kept, _ = probe("keep", MALLOC_TRIM_THRESHOLD_="1000000")
    assert is_kept is False
