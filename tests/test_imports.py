"""Rooms stay apart: a dashboard with torch in it starts slowly and dies of what kills a model."""

from __future__ import annotations

import subprocess
import sys

import pytest

APART = {
    "store.reader": ("torch", "transformers", "textual"),
    "store.writer": ("torch", "transformers", "textual"),
    "tui.app": ("torch", "transformers", "safetensors", "scipy"),
    "tui.cli": ("torch", "transformers", "textual", "numpy", "scipy"),
    "tui.start": ("torch", "transformers"),
    "decoding.config": ("torch", "transformers", "textual"),
    "decoding.budget.advice": ("torch", "transformers", "textual", "scipy"),
    "decoding.costs": ("torch", "transformers", "textual"),
    "decoding.tree_choice": ("torch", "transformers", "textual"),
    "decoding.launch": ("torch", "transformers", "textual"),
    "decoding.embedded": ("torch", "transformers", "textual"),
    "decoding.lean_imports": ("torch", "transformers", "textual"),
    "decoding.worker": ("torch", "transformers", "textual"),
    "decoding.bench": ("torch", "transformers", "textual"),
    "decoding.needs": ("transformers", "textual"),
    "decoding.environment": ("transformers", "textual"),
    # It knows where files lie (`store.paths`, `store.files`), and nothing of databases.
    "decoding.engine": (
        "textual",
        "sqlite3",
        "sqlite_utils",
        "store.database",
        "store.reader",
        "store.writer",
    ),
    "prompts": ("torch", "textual", "store"),
}


@pytest.mark.parametrize("module", APART)
def test_a_fresh_process_that_imports_it_has_loaded_nothing_it_must_not(module: str) -> None:
    code = f"import sys, {module}; print(*(m for m in {APART[module]!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == []
