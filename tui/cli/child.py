"""Runs a command whose work needs torch in a child process, for this one never imports it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_OPEN_FILE = re.compile(r"(?:^|=)/(?:dev|proc/self)/fd/(\d{1,6})$")

GROUP_S = 2.0
"""A terminal sends Ctrl-C to the child too, which ends in its own way; without one it is told after so long."""


def run_module(module: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> int:
    """``python -m module arguments`` with `environment` below the user's own; returns its exit code."""
    from spectui.decoding.processes import python, start

    # What a shell puts in for <(command) is a name of an open file of ours.
    pipes = [int(match[1]) for each in arguments if (match := _OPEN_FILE.search(each))]
    command = python("-m", module, *arguments)
    with start(command, defaults=environment, pass_fds=pipes) as child, _passed_on(child):
        while True:
            try:
                code = child.wait()
                break
            except KeyboardInterrupt:
                _interrupt(child)
    return code if code in (0, 1, 2, 130) else 1


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        child.wait(GROUP_S)
    if child.poll() is None and not _before_a_terminal():
        child.send_signal(signal.SIGINT)


def _before_a_terminal() -> bool:
    try:
        with Path("/dev/tty").open("rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def _passed_on(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass signals that end this process on to the child, which would go on for hours."""
    before = {
        number: signal.signal(number, lambda number, _: child.send_signal(number))
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) == signal.SIG_DFL  # `nohup` has it ignored
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
