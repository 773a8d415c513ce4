"""The rows of a Parquet file as records, by pyarrow, an optional dependency of 40 MB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spectui.prompts.records import Record
from spectui.prompts.source import BadFile

MAGIC = b"PAR1"
BATCH = 32
"""Rows held at a time: of a column that repeats one long text, each takes the whole of it."""
MOST_BYTES = 1 << 30
"""Limit of all rows, unpacked, as the file itself declares them."""


def is_parquet(path: str | Path) -> bool:
    """True for a Parquet file, with pyarrow installed. It is read from both ends, so a pipe is none."""
    try:
        if not Path(path).is_file():
            return False
        with Path(path).open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return False
        import pyarrow.parquet  # noqa: F401
    except (OSError, ValueError, ImportError):
        return False
    return True


def rows(path: str | Path) -> Iterator[Record]:
    """A record for each row, numbered from 1. Raises `BadFile` for a file that is damaged or too large."""
    import pyarrow
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16) as file:
            about = file.metadata
            size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
            if size > MOST_BYTES:
                raise BadFile(f"more than {MOST_BYTES >> 30} GiB of rows; give a part of the file")
            for batch in file.iter_batches(batch_size=BATCH, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield Record(number, {key: value for key, value in row.items() if value is not None})
    except (pyarrow.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())[:120]
        raise BadFile(
            f"the Parquet file is damaged: {why}; fetch it again", number + 1 if number else 0
        ) from None
