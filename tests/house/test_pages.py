"""What the pages say can be followed: links lead somewhere, and commands name verbs and options that exist."""

import itertools
import re
import shlex
from collections import Counter
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from genomix_cli.main import app
from tests.conftest import ROOT

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "recipes").rglob("*.md"),
        *(ROOT / "kernels").rglob("*.md"),
        *(ROOT / "data").rglob("*.md"),
    )
)
FENCE = re.compile(r"^( *)(```+)[^\n]*\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
INLINE = re.compile(r"`(genomix [^`]+)`")
INDENTED = re.compile(r"^ {4}(genomix .*)$", re.MULTILINE)
COMMAND = re.compile(r"^\s*(?:\$ )?(?:torchrun .*?-m genomix_cli\.main |time )?(?:genomix )?(?P<words>.*)$")


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub spells them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", FENCE.sub("", markdown), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def commands(markdown: str) -> Iterator[str]:
    """Yield the genomix commands of a page, one line each: of code blocks and in the text."""
    blocks = "\n".join(body for _, _, body in FENCE.findall(markdown)).replace("\\\n", " ")
    for line in blocks.splitlines():
        if re.match(r"\s*(\$ )?(genomix |torchrun .*genomix_cli\.main )", line):
            yield line
    prose = FENCE.sub("", markdown)
    yield from INDENTED.findall(prose)
    for code in INLINE.findall(prose):
        yield " ".join(code.split())


def complaint(line: str) -> str | None:
    """Return what genomix says against the verb and options of a command line, or None."""
    matched = COMMAND.match(line)
    assert matched
    words = shlex.split(matched["words"].replace("$(", "("), comments=True)
    words = list(itertools.takewhile(lambda word: word not in {"|", ">", "2>", "&&", ";", "&"}, words))
    if words[-1].startswith("-"):  # prose names an option without its value
        words.append("VALUE")
    # The help of a verb is given when all words before it could be read: nothing is run.
    result = CliRunner().invoke(app, [*words, "--help"])
    return None if result.exit_code == 0 else result.output


@pytest.fixture(autouse=True)
def no_help_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing tables of options takes most of the time of a command that only asks for help."""
    monkeypatch.setattr("typer.rich_utils.rich_format_help", lambda **_: None)


def test_what_does_not_exist_is_noticed() -> None:
    assert complaint("$ genomix score in.vcf -f ref.fa --quiet | head") is None
    assert complaint("genomix evaluate model test.csv") is None
    for wrong in (
        "genomix scroe x",
        "genomix score x --nosuch",
        "genomix evaluate m t --nosuch",
        "genomix data list --nosuch",
        "genomix --nosuch",
    ):
        assert complaint(wrong), wrong


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    markdown = (ROOT / page).read_text(encoding="utf-8")
    dead = []
    for target in LINK.findall(re.sub(r"`[^`\n]*`", "", FENCE.sub("", markdown))):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):  # the web is not asked
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists() or (
            anchor and path.suffix == ".md" and anchor not in anchors(path.read_text(encoding="utf-8"))
        ):
            dead.append(target)
    assert not dead


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_name_verbs_and_options_that_exist(page: str) -> None:
    markdown = (ROOT / page).read_text(encoding="utf-8")
    wrong = {line: said for line in commands(markdown) if (said := complaint(line))}
    assert not wrong
