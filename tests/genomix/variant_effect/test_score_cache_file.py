"""The file of a cache: many processes at once, one that is killed, bytes that change, and files that are none."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genomix.variant_effect import Status, VariantScore
from genomix.variant_effect import score_cache as module
from genomix.variant_effect.score_cache import ScoreCache
from genomix_data.errors import GenomixError, InputFileError
from tests.conftest import PACKAGES, ROOT

MODEL = "0" * 64


def score_of(numbers: list[float], head: float) -> VariantScore:
    llr, llr_fwd, llr_rc, ref_ll, alt_ll = numbers
    return VariantScore(Status.OK, llr, llr_fwd, llr_rc, ref_ll, alt_ll, head=head)


def filled(folder: Path, n: int = 400) -> tuple[Path, dict[bytes, VariantScore]]:
    """Return a cache of so many random scores, and these."""
    rng = np.random.default_rng(9)
    scores = {rng.bytes(16): score_of(rng.normal(size=5).tolist(), float(number)) for number in range(n)}
    with ScoreCache(folder, MODEL) as cache:
        cache.add(scores)
        assert cache.get([b"x" * 16, *scores]) == scores
    return cache.path, scores


def test_one_that_came_first_stays(tmp_path: Path) -> None:
    _, scores = filled(tmp_path, 3)
    with ScoreCache(tmp_path, MODEL) as cache:
        cache.add(dict.fromkeys(scores, VariantScore(Status.OK, 0.0)))
        assert cache.get(list(scores)) == scores


def test_a_changed_byte_never_gives_a_wrong_score(tmp_path: Path) -> None:
    """Anywhere in the file: the scores are right, or missing, or the error names the file."""
    path, scores = filled(tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(4)
    n_noticed = 0
    for at in [*range(0, 120, 3), *rng.integers(0, len(whole), 160).tolist()]:
        changed = bytearray(whole)
        changed[at] ^= int(rng.integers(1, 256))
        for beside in tmp_path.glob("*.sqlite-*"):
            beside.unlink()
        path.write_bytes(changed)
        try:
            with ScoreCache(tmp_path, MODEL) as cache:
                found = cache.get(list(scores))
        except InputFileError as error:
            assert path.name in str(error)  # noqa: PT017 - either way is right
            n_noticed += 1
            continue
        assert found.items() <= scores.items()
    assert n_noticed > 50


def test_files_that_are_no_cache(tmp_path: Path) -> None:
    path, _ = filled(tmp_path, 3)
    for content, message in (
        (b"CHROM\tPOS\n" * 500, "is damaged, or is none"),
        (path.read_bytes()[:5000], "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputFileError, match=rf"{path.name}.*{message}"):
            ScoreCache(tmp_path, MODEL)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE scores (key BLOB, value BLOB)")
    before = path.read_bytes()
    with pytest.raises(InputFileError, match="of another program"):
        ScoreCache(tmp_path, MODEL)
    assert path.read_bytes() == before, "left as it was"
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA application_id = {module.APPLICATION_ID}")
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(InputFileError, match="is of layout 99; this genomix knows 1"):
        ScoreCache(tmp_path, MODEL)
    other.close()


def test_a_file_under_the_name_of_another_model(tmp_path: Path) -> None:
    path, _ = filled(tmp_path, 3)
    path.rename(tmp_path / f"{'1' * 32}.sqlite")
    with pytest.raises(InputFileError, match="it was renamed"):
        ScoreCache(tmp_path, "1" * 64)


def test_where_there_can_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputFileError, match="of the cache cannot be made"):
        ScoreCache(tmp_path / "file", MODEL)
    path, _ = filled(tmp_path, 3)
    monkeypatch.setattr(module, "LONGEST_WAIT_S", 0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(GenomixError, match="locked by another process"):
        ScoreCache(tmp_path, MODEL)
    holder.close()
    path.unlink()
    path.mkdir()
    with pytest.raises(InputFileError, match="cannot be read and written"):
        ScoreCache(tmp_path, MODEL)


WRITE = """
import sys
import types
from pathlib import Path
import genomix
# without PyTorch, which takes seconds to import
package = types.ModuleType("genomix.variant_effect")
package.__path__ = [str(Path(genomix.__file__).parent / "variant_effect")]
sys.modules[package.__name__] = package
from genomix.variant_effect.contract import Status, VariantScore
from genomix.variant_effect.score_cache import ScoreCache
folder, seed, blocks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
Path(folder, f"ready.{seed}").touch()
while not Path(folder, "go").exists():
    pass
with ScoreCache(folder, "0" * 64) as cache:
    for block in range(blocks):
        numbers = [100 * block + n + 50 * seed for n in range(100)]
        cache.add({n.to_bytes(16, "big"): VariantScore(Status.OK, float(n)) for n in numbers})
        print(block, flush=True)
"""


def test_processes_that_write_at_once_and_one_that_is_killed(tmp_path: Path) -> None:
    """They make the file together, write overlapping keys, and one is killed amid it."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / package) for package in PACKAGES),
        "OMP_NUM_THREADS": "1",
    }
    blocks = (60, 60, 1_000_000)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(tmp_path), str(seed), str(n)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, n in enumerate(blocks)
    ]
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("ready.*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    (tmp_path / "go").touch()
    endless = processes[2]
    assert endless.stdout is not None
    n_done = 1 + max(int(endless.stdout.readline()) for _ in range(30))
    endless.kill()
    for process in processes[:2]:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    endless.communicate()
    assert endless.returncode == -signal.SIGKILL
    with ScoreCache(tmp_path, MODEL) as cache:
        wanted = [*range(6050), *range(100, 100 + 100 * n_done)]
        found = cache.get([n.to_bytes(16, "big") for n in wanted])
        assert {int.from_bytes(key, "big"): score.llr for key, score in found.items()} == {
            n: float(n) for n in wanted
        }
        assert json.dumps(cache._connection.execute("PRAGMA integrity_check").fetchall()) == '[["ok"]]'
