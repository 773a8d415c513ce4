"""The one place that starts processes; none of them imports a module from the folder that spectui is used in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def python(*arguments: str) -> list[str]:
    """The command line that gives this interpreter these arguments, such as ``-m`` and a module.

    Python puts the working folder before its own library for ``-m`` and ``-c``: a `random.py` that lies there
    would be run. ``-P`` leaves it out; ``PYTHONPATH`` holds as ever.
    """
    return [sys.executable, "-P", *arguments]


def start(
    command: Sequence[str],
    *,
    defaults: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.Popen[Any]:
    """Start `command`; `options` are those of `subprocess.Popen`.

    It gets the environment of this process, with `defaults` below it and `environment` above. Raises `OSError`
    where it cannot be started.
    """
    # The Pythons that a child of ours starts, such as those of pip, are to leave the working folder out too.
    ours = {"PYTHONSAFEPATH": "1"} if command[0] == sys.executable else {}
    return subprocess.Popen(
        command, env={**(defaults or {}), **os.environ, **ours, **(environment or {})}, **options
    )


def run(
    command: Sequence[str], *, timeout: float | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """`start` it, wait for its end, and return what it printed as text.

    Raises `OSError` where it cannot be started and `subprocess.TimeoutExpired` after `timeout` seconds; it has
    ended then too.
    """
    text = options.pop("input", None)
    pipe = subprocess.PIPE
    stdin = subprocess.DEVNULL if text is None else pipe
    with start(
        command, stdin=stdin, stdout=pipe, stderr=pipe, text=True, errors="replace", **options
    ) as process:
        try:
            out, errors = process.communicate(text, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, errors)
