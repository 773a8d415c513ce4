"""Where an export goes: under another name until it is whole, private, and never over something by accident."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from store.errors import StoreError

_HINT = "name another place"


@contextmanager
def new_folder(path: Path, names: Sequence[str], *, force: bool) -> Iterator[Path]:
    """A folder (0700) to write files of these names in; at the end of the block they are found in `path`.

    A folder that is there already keeps what else is in it. Raises `StoreError`, with `path` as it was,
    when one of the files is there and `force` is not given, or when something cannot be written.
    """
    with _in_words(path):
        there = _kind(path)
        if there == "file":
            raise StoreError(f"{path} is a file; name a folder for the files")
        taken = [name for name in names if (path / name).exists()] if there else []
        if taken and not force:
            raise StoreError(f"{path / taken[0]} is there already; --force replaces it, or {_HINT}")
        # Beside the files it becomes, so that they can be renamed: in the folder when there is one.
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=_home(path, there)))
        try:
            yield draft
            for name in names:
                _settle(draft / name)
            if there:
                for name in names:
                    (draft / name).replace(path / name)
            else:
                draft.rename(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[Path]:
    """An empty file (0600) to write; at the end of the block it is `path`. Raises as `new_folder` does."""
    with _in_words(path):
        there = _kind(path)
        if there == "folder":
            raise StoreError(f"{path} is a folder; name a file in it")
        if there and not force:
            raise StoreError(f"{path} is there already; --force replaces it, or {_HINT}")
        for suffix in ("-wal", "-journal"):
            # What belongs to the old database would be taken for a part of the new one.
            if path.with_name(path.name + suffix).exists():
                raise StoreError(f"{path} is a database in use; close it, or {_HINT}")
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=_home(path, None))
        os.close(handle)
        draft = Path(name)
        try:
            yield draft
            _settle(draft)
            draft.replace(path)
        finally:
            for suffix in ("", "-wal", "-shm", "-journal"):
                with suppress(OSError):
                    draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def private_file(path: Path) -> int:
    """A new file (0600), opened for writing: its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _home(path: Path, there: str | None) -> Path:
    home = path if there == "folder" else path.parent
    home.mkdir(parents=True, exist_ok=True)
    return home


def _kind(path: Path) -> str | None:
    if path.is_dir():
        return "folder"
    return "file" if os.path.lexists(path) else None


def _settle(path: Path) -> None:
    """Onto the disk before its name is: a power cut must not leave an empty file of the right name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise StoreError(f"cannot write {path}: {why or error}; make room there, or {_HINT}") from error
