"""Protects: a checkout runs where nothing is installed, as on a GPU machine that reaches no registry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from spectui.decoding.machine.versions import UNINSTALLED
from tests.sources import ROOT


def test_a_tree_that_is_not_installed_runs(tmp_path: Path) -> None:
    """Everything that spectui needs is there, spectui itself is a folder of PYTHONPATH."""
    site, tree = tmp_path / "site", tmp_path / "tree"
    site.mkdir()
    tree.mkdir()
    (tree / "spectui").symlink_to(ROOT)
    packages = next(Path(entry) for entry in sys.path if Path(entry, "textual").is_dir())
    for each in packages.iterdir():
        if "spectui" not in each.name and each.suffix != ".pth":
            (site / each.name).symlink_to(each)
    bare = getattr(sys, "_base_executable", sys.executable)
    done = subprocess.run(
        [bare, "-I", "-c", "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); "
         "from spectui.tui.cli import main; main(['--version'])", f"{site}:{tree}"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f" {UNINSTALLED}")
