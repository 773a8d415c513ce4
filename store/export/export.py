"""Writes one session to files: CSV, JSON lines, Parquet, a database of its own, or records of AIPerf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spectui.store.errors import StoreError
from spectui.store.export import parquet
from spectui.store.export.aiperf import write_records
from spectui.store.export.sqlite import copy_session
from spectui.store.export.tables import TABLES, Column, Rows, columns, rows
from spectui.store.export.text import CsvFile, JsonFile
from spectui.store.files import new_file, new_folder
from spectui.store.paths import expanded
from spectui.store.reading.reader import Reader
from spectui.store.sources import WATCH

FORMATS = ("csv", "jsonl", "parquet", "sqlite", "aiperf")
ONE_FILE = {"sqlite": ".db", "aiperf": "-aiperf.jsonl"}
"""Formats that are one file -> the end of its name."""
Progress = Callable[[str, int], None]
"""Called with a table and the number of its rows just written."""


class TableFile(Protocol):
    """A file that takes the rows of one table."""

    def write(self, rows: Rows) -> None:
        """Add rows."""

    def close(self) -> None:
        """Finish the file."""


_FILES: dict[str, Callable[[Path, Sequence[Column]], TableFile]] = {
    "csv": CsvFile,
    "jsonl": JsonFile,
    "parquet": parquet.ParquetFile,
}


@dataclass(frozen=True)
class Exported:
    """The result of an export."""

    session_id: int
    name: str
    paths: tuple[Path, ...]
    rows: dict[str, int]
    """Table -> rows."""


def export_session(
    reader: Reader,
    ref: int | str,
    kind: str,
    out: Path,
    *,
    force: bool | None = False,
    progress: Progress = lambda table, count: None,
) -> Exported:
    """Write the session `ref` (id, name or "last") as one of `FORMATS`; all of one state, in bounded memory.

    `out` is a folder for one file a table or, for those of `ONE_FILE`, a file. What is there already is replaced
    with `force` alone (None: it cannot be). Raises `StoreError`, and leaves nothing behind, when something
    is not there, or cannot be read or written.
    """
    out = expanded(out).absolute()
    if kind == "parquet":
        parquet.require()
    with reader.snapshot():
        summary = reader.session(ref)
        if summary.source == WATCH and kind != "sqlite":
            raise StoreError(
                f"session '{summary.name}' is a watched server, without rounds; use --format sqlite"
            )
        if kind in ONE_FILE:
            _refuse_source(reader, out)
            with new_file(out, force=force) as draft:
                if kind == "sqlite":
                    written = copy_session(reader, summary.id, draft, out, progress)
                else:
                    written = write_records(reader, summary.id, draft, progress)
            return Exported(summary.id, summary.name, (out,), written)
        names = [f"{table}.{kind}" for table in TABLES]
        written = {}
        with new_folder(out, names, force=force) as folder:
            for table, name in zip(TABLES, names, strict=True):
                written[table] = _write(reader, summary.id, table, kind, folder / name, progress)
    return Exported(summary.id, summary.name, tuple(out / name for name in names), written)


def default_place(name: str, kind: str) -> Path:
    """The place of an export without `--out`: named after the session, in the working folder."""
    stem = (
        "".join(each if each.isalnum() or each in "-_. " else "-" for each in name).strip(". ") or "session"
    )
    return Path(stem + ONE_FILE.get(kind, f"-{kind}"))


def _write(reader: Reader, session_id: int, table: str, kind: str, path: Path, progress: Progress) -> int:
    held = columns(reader, table)
    count = 0
    with closing(_FILES[kind](path, held)) as file:
        for chunk in rows(reader, table, tuple(column.name for column in held), session_id):
            file.write(chunk)
            count += len(chunk)
            progress(table, len(chunk))
    return count


def _refuse_source(reader: Reader, out: Path) -> None:
    for (source,) in reader.fetch("SELECT file FROM pragma_database_list WHERE file <> ''"):
        if out.exists() and out.samefile(source):
            raise StoreError(f"{out} is the database that is exported from; name another place")
