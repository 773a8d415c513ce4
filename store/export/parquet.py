"""Rows as a Parquet file, by pyarrow, an optional dependency of 40 MB."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from spectui.store.errors import StoreError
from spectui.store.export.tables import Column, Rows
from spectui.store.files import private_file


def require() -> None:
    """Raise `StoreError` when there is no pyarrow."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise StoreError(
            "Parquet files need pyarrow: pip install 'spectui[parquet]' (csv, jsonl and sqlite need nothing)"
        ) from error


class ParquetFile:
    """One table in one file (0600), a row group per `write`."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {"integer": pa.int64(), "real": pa.float64(), "text": pa.string(), "flag": pa.bool_()}
        self._schema = pa.schema([(column.name, types[column.kind]) for column in columns])
        self._columns = columns
        self._file = os.fdopen(private_file(path), "wb")
        try:
            self._writer = pq.ParquetWriter(self._file, self._schema)
        except BaseException:
            self._file.close()
            raise

    def write(self, rows: Rows) -> None:
        """Add rows, whose values are in the order of the columns."""
        import pyarrow as pa

        arrays = []
        for field, column, values in zip(self._schema, self._columns, zip(*rows, strict=True), strict=True):
            if column.kind == "flag":
                values = tuple(map(bool, values))
            arrays.append(pa.array(values, type=field.type))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write the index and the rest. Raises `OSError` when there is no room for it."""
        try:
            self._writer.close()
        finally:
            self._file.close()
