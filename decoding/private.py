"""Folders that only their owner may look into."""

from __future__ import annotations

from pathlib import Path


def private_folder(path: Path) -> Path:
    """`path`, made where it is missing, and then closed to others; one that is there stays as it is, for it may
    be anything. Raises `OSError` when it cannot be made."""
    # The mode of mkdir(parents=True) is not that of the parents, so make them one by one.
    for folder in reversed([p for p in (path, *path.parents) if not p.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path
