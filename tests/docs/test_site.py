"""The site of docs/: `make docs` builds it, and its generated parts say all that the code has.

Protects: a command, an option, a key or a setting that is added is in the reference without another file being touched.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.docs import generated
from tests.docs.documents import ROOT


def test_the_command_line_is_there_whole() -> None:
    from spectui.tui.cli import main

    page = generated.command_line()

    def visit(command: click.Command, path: str) -> None:
        assert f"## {path}\n" in page
        if isinstance(command, click.Group):
            for name, child in command.commands.items():
                visit(child, f"{path} {name}")

    visit(main, "spectui")
    for option in ("`--tree SHAPE`", "`--debug`", "`--profile`", "`--work WORK`"):
        assert option in page
    assert page.count("`--debug`") == 3  # once for all of click, and bench and distill


def test_every_key_of_every_screen_is_there() -> None:
    from spectui.tui.navigation import areas
    from spectui.tui.navigation.keymap import actions

    page = generated.keys()
    for area in areas():
        assert f"in `[keys.{area}]`" in page
        for name in actions(area):
            assert f"`{name}`" in page


def test_every_page_with_a_mark_is_filled_in() -> None:
    marked = [
        page
        for page in (ROOT / "docs").rglob("*.md")
        if generated.MARK.search(page.read_text(encoding="utf-8"))
    ]
    assert len(marked) == len(generated.PARTS)
    for page in marked:
        assert "<!-- generated" not in generated.filled_in(page.read_text(encoding="utf-8"))


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "spectui sessions backup" in (tmp_path / "site/reference/command-line.html").read_text("utf-8")
