"""The recipes of CONTRIBUTING.md.

Protects: what a contributor copies from there is code that runs. Each example is the text of a file of the tests,
which uses it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from spectui.store import open_database
from spectui.tui.cli import main
from tests.docs import generated
from tests.docs.documents import ROOT
from tests.docs.recipes.column import COLUMN
from tests.docs.recipes.longest import longest
from tests.docs.recipes.option import BEFORE, FILE, OPTION
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


def _run_changed(script: str, changes: Iterable[tuple[str, str, str]], folder: Path) -> None:
    """Run a module of the recipes with a copy of the code that has more lines: file, lines, beginning of the next."""
    packages = folder / "src" / "spectui"
    for room in ("decoding", "prompts", "servers", "store", "tui"):
        shutil.copytree(
            ROOT / room, packages / room, ignore=shutil.ignore_patterns("__pycache__", "smollm2*")
        )
    for file, lines, before in changes:
        text = (packages / file).read_text(encoding="utf-8")
        assert text.count(f"\n{before}") == 1, file
        (packages / file).write_text(text.replace(f"\n{before}", f"\n{lines}\n{before}"), encoding="utf-8")
    tried = subprocess.run(
        [sys.executable, "-m", f"tests.docs.recipes.{script}", folder],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(packages.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stderr


def test_a_column_takes_five_lines_in_five_files(tmp_path: Path) -> None:
    """Both implementations of a round fill it; it is read and exported."""
    _run_changed("record_column", COLUMN, tmp_path)


def test_an_option_takes_one_field(tmp_path: Path) -> None:
    """Command line, settings, form and reference have it."""
    _run_changed("use_option", [(FILE, OPTION.strip("\n"), BEFORE)], tmp_path)


def test_the_lines_of_the_column_are_in_the_recipe() -> None:
    recipe = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("### A column")[1].split("###")[0]
    assert [
        (file, line.strip())
        for file, line in re.findall(r"^\d\. `(\S+)`: .*?`([^`]+)`$", recipe, re.MULTILINE)
    ] == [(file, line.strip()) for file, line, _ in COLUMN]


def test_the_command_runs_and_is_in_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(tmp_path / "spectui.db")
    record_all(database, ("code", "math"), 3)
    database.close()
    monkeypatch.setattr(main, "commands", {**main.commands, "longest": longest})
    printed = CliRunner().invoke(main, ["longest", "--db", str(tmp_path / "spectui.db")])
    assert printed.exit_code == 0, printed.output
    assert re.fullmatch(r"[0-3] draft tokens in one round\n", printed.output)
    assert "## spectui longest\n" in generated.command_line()
