"""The recipes of CONTRIBUTING.md.

Protects: what a contributor copies from there is code that runs. Each example is the text of a file of the tests,
which uses it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from spectui.store import open_database
from spectui.tui.cli import main
from tests.docs import generated
from tests.docs.documents import ROOT
from tests.docs.recipes.longest import longest
from tests.store.samples import record_all

EXAMPLES = re.findall(
    r"^<!-- from (\S+) -->\n```python\n(.*?)^```$",
    (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


def _lines(text: str) -> str:
    """Without indents: an example may stand within a function."""
    return "\n".join(line.strip() for line in text.strip().splitlines()) + "\n"


def test_every_example_is_the_text_of_a_file() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(EXAMPLES) == text.count("```python")
    for file, example in EXAMPLES:
        assert _lines(example) in _lines((ROOT / file).read_text(encoding="utf-8")), file


def test_every_recipe_says_how_many_files_it_takes() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.findall(r"^### An? (.+)$", text, re.MULTILINE) == [
        "drafter: two files",
        "drafter with weights: three files",
        "chart: one file",
        "column of `node`: five files",
        "run option: one file",
        "command: two files",
        "screen: three files",
    ]


def test_the_command_runs_and_is_in_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(tmp_path / "spectui.db")
    record_all(database, ("code", "math"), 3)
    database.close()
    monkeypatch.setattr(main, "commands", {**main.commands, "longest": longest})
    printed = CliRunner().invoke(main, ["longest", "--db", str(tmp_path / "spectui.db")])
    assert printed.exit_code == 0, printed.output
    assert re.fullmatch(r"[0-3] draft tokens in one round\n", printed.output)
    assert "## spectui longest\n" in generated.command_line()
