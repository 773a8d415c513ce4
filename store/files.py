"""Writing of files: under another name until whole, for the owner alone, and over others only when asked.

Files that the user names go through `new_file` and `new_folder`, which keep existing ones. Files of spectui's own,
such as a cache, go through `replacing` and `write_text`. A test lists the few other places that write.
"""

from __future__ import annotations

import fcntl
import fnmatch
import glob
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from spectui.store.errors import StoreError

_ANOTHER = "name another place"
_OWN_DESCRIPTOR = re.compile(r"/dev/(?:std(?P<name>out|err)|fd/(?P<fd>\d+))|/proc/self/fd/(?P<proc>\d+)")
_SQLITES = ("-wal", "-shm", "-journal")
FRESH_S = 10.0
"""Age in seconds below which a draft is never taken for dead."""


@contextmanager
def new_folder(path: Path, names: Sequence[str], *, force: bool | None) -> Iterator[Path]:
    """A folder (0700) to write files of these names in; at the end of the block they are found in `path`.

    A folder that is there already keeps what else is in it. Raises `StoreError`, with `path` as it was,
    when one of the files is there and `force` is not given (None: it cannot be), or when something cannot
    be written.
    """
    with _explained(path):
        check_free(path, force=force, names=names)
        there = path.is_dir()
        # Beside the files it becomes, so that they can be renamed: in the folder when there is one.
        draft = Path(
            tempfile.mkdtemp(
                prefix=_prefix(path), suffix=".part", dir=private_folder(path if there else path.parent)
            )
        )
        try:
            yield draft
            for name in names:
                (draft / name).chmod(0o600)
                _sync(draft / name)
            if there:
                for name in names:
                    _rename_over(draft / name, path / name)
            else:
                draft.rename(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def new_file(path: Path, *, force: bool | None) -> Iterator[Path]:
    """An empty file (0600) to write; at the end of the block it is `path`. Raises as `new_folder` does.

    With `force` it has the permissions of the file that it replaces, and a link is replaced, not followed. A pipe
    or a device, such as /dev/stdout, is written to when everything is there, and needs no `force`.
    """
    with _explained(path):
        check_free(path, force=force)
        if is_stream(path):
            with tempfile.TemporaryDirectory(prefix="spectui-") as folder:
                draft = Path(folder) / "draft"
                os.close(private_file(draft))
                yield draft
                _copy_to_stream(draft, path)
            return
        for suffix in ("-wal", "-journal"):
            # What belongs to the old database would be taken for a part of the new one.
            if path.with_name(path.name + suffix).exists():
                raise StoreError(f"{path} is a database in use; close it, or {_ANOTHER}")
        with replacing(path, force=force) as draft:
            yield draft


@contextmanager
def held_draft(path: Path, *, force: bool | None) -> Iterator[Path]:
    """As `new_file`, for what may be killed after minutes: the draft is locked meanwhile, so that one that nobody holds
    is known as dead, and dead ones of the same file are removed first.

    Close what reads or writes the draft within the block.
    """
    _remove_dead_drafts(path)
    with new_file(path, force=force) as draft:
        handle = os.open(draft, os.O_RDWR)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield draft
        finally:
            os.close(handle)


def _remove_dead_drafts(path: Path) -> None:
    """Remove the drafts of `held_draft` that killed processes left."""
    with suppress(OSError):
        for draft in path.parent.glob(f"{glob.escape(_prefix(path))}*.part"):
            with suppress(OSError):
                if time.time() - draft.stat().st_mtime < FRESH_S:
                    continue  # maybe made a moment ago and not locked yet
                handle = os.open(draft, os.O_RDWR)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    for suffix in ("", *_SQLITES):
                        draft.with_name(draft.name + suffix).unlink(missing_ok=True)
                finally:
                    os.close(handle)


def check_free(path: Path, *, force: bool | None, names: Sequence[str] | None = None) -> None:
    """Raise `StoreError` when the file `path`, or one of `names` in that folder, is there and not to be replaced.

    To be asked before work that takes long: `new_file` and `new_folder` ask again.
    """
    if names is None and is_stream(path):
        return
    there = "folder" if path.is_dir() else "file" if os.path.lexists(path) else None
    if names is not None and there == "file":
        raise StoreError(f"{path} is a file; name a folder for the files")
    if names is None and there == "folder":
        raise StoreError(f"{path} is a folder; name a file in it")
    sought = [path] if names is None else [path / name for name in names]
    taken = [each for each in sought if os.path.lexists(each)]
    if taken and not force:
        raise _taken(taken[0], force)


def _taken(path: Path, force: bool | None) -> StoreError:
    how = _ANOTHER if force is None else f"--force replaces it, or {_ANOTHER}"
    return StoreError(f"{path} is there already; {how}")


def is_stream(path: Path) -> bool:
    """True when the path is a program or a device to write to: a pipe, a terminal, /dev/stdout."""
    if _OWN_DESCRIPTOR.fullmatch(str(path)):
        return True
    with suppress(OSError):
        kind = path.stat().st_mode
        return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)
    return False


@contextmanager
def replacing(path: Path, *, sync: bool = True, force: bool | None = True) -> Iterator[Path]:
    """A file of ours to write anew: empty (0600) at first, and `path` at the end of the block, or not at all.

    Folders are made (0700). Raises `OSError`, and without `force` `StoreError` when somebody was faster and `path` is
    there by then. `sync=False` leaves it to the system when it reaches the disk, for
    what costs nothing when it is lost.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=".part", dir=private_folder(path.parent))
    except OSError as error:
        error.filename = str(path)  # rather than the draft's, which nobody asked for
        raise
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        if sync:
            _sync(draft)
        if force:
            _rename_over(draft, path)
        else:
            _link_new(draft, path, force)
    finally:
        for suffix in ("", *_SQLITES):
            with suppress(OSError):
                draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def write_text(path: Path, text: str, *, sync: bool = True, public: bool = False) -> None:
    """Replace a file of ours by `text`, in UTF-8, as a whole or not at all. Raises `OSError`.

    A new one that is `public` can be read by all, as what is written for a service of another user.
    """
    with replacing(path, sync=sync) as draft:
        draft.write_text(text, encoding="utf-8")
        if public:
            draft.chmod(0o644)


def remove_drafts(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder, and below it, that no other process uses."""
    for draft in files_below(folder, ".*.part"):
        with suppress(OSError):
            draft.unlink()


def files_in(folder: Path) -> list[Path]:
    """The files and links of a folder itself. Raises `OSError` where it cannot be read."""
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if not entry.is_dir(follow_symlinks=False)]


def files_below(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Every file below `folder` whose name fits `pattern`, in no order, while others may be at work there.

    Never raises: what is gone by the time it is looked at, or must not be looked at, is left out. `Path.rglob`
    fails on a folder that vanishes.
    """
    for place, _, names in os.walk(folder):
        for name in fnmatch.filter(names, pattern):
            yield Path(place, name)


def sizes(files: Iterable[Path]) -> list[int]:
    """Bytes of each of these files that is there. Never raises: a count must not end what it counts."""
    counts = []
    for path in files:
        with suppress(OSError):
            counts.append(path.stat().st_size)
    return counts


def private_file(path: Path) -> int:
    """A new file (0600), opened for writing: its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def private_folder(path: Path) -> Path:
    """Makes `path` where it is missing, closed to others; an existing one stays as it is, for it may
    be anything. Raises `OSError` when it cannot be made."""
    # The mode of mkdir(parents=True) is not that of the parents, so make them one by one.
    for folder in reversed([p for p in (path, *path.parents) if not p.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def _prefix(path: Path) -> str:
    """A hidden name for the draft of `path`, short enough for any file system beside any name."""
    return f".{path.name[:40]}."


def _rename_over(draft: Path, path: Path) -> None:
    """Give the draft its name, and the permissions of the file it replaces."""
    with suppress(OSError):
        before = path.lstat()
        if stat.S_ISREG(before.st_mode):
            draft.chmod(stat.S_IMODE(before.st_mode))
    draft.replace(path)


def _link_new(draft: Path, path: Path, force: bool | None) -> None:
    """Give the draft a name that nothing has."""
    try:
        os.link(draft, path)
    except FileExistsError as error:
        raise _taken(path, force) from error
    except OSError:  # a file system without hard links
        draft.replace(path)


def _copy_to_stream(draft: Path, path: Path) -> None:
    """Write all of it to a pipe or device, which is not made when it is gone meanwhile."""
    descriptor = _OWN_DESCRIPTOR.fullmatch(str(path))
    if descriptor is None:
        target = os.open(path, os.O_WRONLY)
    elif descriptor["name"]:
        target = os.dup(1 if descriptor["name"] == "out" else 2)
    else:
        target = os.dup(int(descriptor["fd"] or descriptor["proc"]))
    with os.fdopen(target, "wb") as out, draft.open("rb") as text:
        shutil.copyfileobj(text, out)


def _sync(path: Path) -> None:
    """Writes a file to the disk before it gets its name: a power cut must not leave an empty file of that name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise StoreError(f"cannot write {path}: {why or error}; make room there, or {_ANOTHER}") from error
