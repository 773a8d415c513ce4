"""Writes what is expected again, by the code that is there: ``python -m tests.before.renew [NAME ...]``.

For a change that is meant, and then only for the files that it changes: `NAME` is one, or how several begin.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.before import views
from tests.before.files import unpack, write


def everything(folder: Path) -> Iterator[tuple[str, Any]]:
    """Every expected file but those of decoding, with what it would hold."""
    views.upgrade(folder)
    yield "first/filled-in.json", views.filled_in(folder / "first.db")
    for name in views.PRINTED:
        yield name, views.printed(name, folder)
    yield from views.written(folder)
    yield "replayed.json", asyncio.run(views.replayed(folder))
    with views.at_home(folder):
        for path, _ in views.commands():
            yield views.file_of(path), views.help_of(path)
        yield "options.json", {" ".join(("spectui", *path)): views.options_of(command, path)
                               for path, command in views.commands()}  # fmt: skip
        settings, keys = views.offered()
        yield "settings.json", settings
        yield "keys.json", keys


def main(wanted: tuple[str, ...]) -> None:
    """Write the files that are wanted, all of them where none is named."""
    with tempfile.TemporaryDirectory() as folder:
        for name, value in everything(unpack(Path(folder).resolve())):
            if name.startswith(wanted or ("",)):
                write(name, value)


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
