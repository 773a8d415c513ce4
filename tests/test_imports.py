"""Rooms stay apart: a dashboard with torch in it starts slowly and dies of what kills a model."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

APART = {
    "spectui.store.reading.reader": ("torch", "transformers", "textual"),
    "spectui.store.writing.writer": ("torch", "transformers", "textual"),
    "spectui.tui.app": ("torch", "transformers", "safetensors", "scipy"),
    "spectui.tui.cli": ("torch", "transformers", "textual", "numpy", "scipy"),
    "spectui.tui.start": ("torch", "transformers"),
    "spectui.decoding": ("torch", "transformers", "textual"),
    "spectui.decoding.config": ("torch", "transformers", "textual", "numpy"),
    "spectui.decoding.trees.advise.advice": ("torch", "transformers", "textual", "scipy"),
    "spectui.decoding.trees.costs": ("torch", "transformers", "textual"),
    "spectui.decoding.trees.candidates": ("torch", "transformers", "textual"),
    "spectui.decoding.worker.launch": ("torch", "transformers", "textual"),
    "spectui.decoding.checkpoints.embedded": ("torch", "transformers", "textual"),
    "spectui.decoding.worker.__main__": ("torch", "transformers", "textual"),
    # A plain run knows nothing of replicas, and the dispatcher has no models.
    "spectui.decoding.worker.session": ("ray", "spectui.decoding.replicas"),
    "spectui.decoding.replicas.session": ("torch", "transformers", "textual", "ray"),
    "spectui.servers.worker.session": ("torch", "transformers", "textual", "scipy"),
    "spectui.decoding.bench.__main__": ("torch", "transformers", "textual"),
    "spectui.decoding.models.needs": ("transformers", "textual"),
    "spectui.decoding.machine.environment": ("transformers", "textual"),
    # It knows where files lie (`store.paths`, `store.files`), and nothing of databases.
    "spectui.decoding.engine": (
        "textual",
        "sqlite3",
        "sqlite_utils",
        "spectui.store.database",
        "spectui.store.reading.reader",
        "spectui.store.writing.writer",
    ),
    "spectui.servers.client": ("torch", "transformers", "textual", "numpy"),
    "spectui.servers.kinds": ("torch", "transformers", "textual", "numpy"),
    "spectui.prompts": ("torch", "textual", "spectui.store", "spectui.prompts.loader"),
    "spectui.store": ("sqlite3", "numpy", "spectui.store.errors"),
}


@pytest.mark.parametrize("module", APART)
def test_a_fresh_process_that_imports_it_has_loaded_nothing_it_must_not(module: str) -> None:
    code = f"import sys, {module}; print(*(m for m in {APART[module]!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", ["spectui.prompts", "spectui.store"])
def test_a_front_door_opens_on_every_public_name_and_on_no_other(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing
