"""The README is short, its Python runs as it stands, its commands exist and its links lead somewhere."""

import re
from pathlib import Path

import pytest
import tyro

from eosmodel.commands.options import COMMANDS
from eosmodel.commands.parsing import Command

pytestmark = pytest.mark.usefixtures("lightly_compiled")

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "eosmodel" / "docs").glob("*.md"))


def commands(text):
    """The command lines of eosmodel in the code blocks of a page."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, flags=re.DOTALL) + re.findall(r"(?:\n {4}.*)+", text)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return re.findall(r"^ *(?:\$ )?eosmodel ([^#\n]*)", "\n".join(lines), flags=re.MULTILINE)


def test_it_is_short():
    assert len(README.read_text().splitlines()) <= 130


def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 1
    scope: dict = {}
    exec(compile(blocks[0], str(README), "exec"), scope)
    assert "oscillation" in capsys.readouterr().out
    assert int(scope["run"].status) == 0
    assert float(scope["theory"].status.max()) == 0
    assert scope["figure"].axes


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_commands_are_understood(page):
    lines = commands(page.read_text())
    assert lines or page.name not in ("README.md", "commands.md", "networks.md")
    for line in lines:
        words = line.replace("$O", "oscillation").split()
        if words[0] == "--completion":
            assert words[1] in ("bash", "zsh", "tcsh")
            continue
        if "--config" in words:  # of a file that need not be there
            at = words.index("--config")
            words = words[:at] + words[at + 2 :]
            words = words if words and words[0] in COMMANDS else ["train", *words]
        tyro.cli(Command, args=words, config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff))


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_targets_of_make_exist():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in re.findall(r"\bmake ([\w-]+)(?=`|   )", README.read_text()):
        assert target in targets
