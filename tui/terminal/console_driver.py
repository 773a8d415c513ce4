"""The Linux console, which prints sequences it does not understand, and job control."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from textual.drivers.linux_driver import LinuxDriver

_UNKNOWN = re.compile(
    r"\x1b\[(?:[<>=][0-9;]*u|\?(?:1004|1015|1016|2004|2026|2048)(?:[hl]|\$p))|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
)
"""Asking for keyboard protocols, focus, pasting, synchronised output, a pointer's shape. Older kernels print the
end of them."""


def is_console(environment: Mapping[str, str]) -> bool:
    """True on the console of a Linux machine, without a terminal program."""
    return environment.get("TERM") == "linux"


def under_job_control() -> bool:
    """True where a shell in this terminal's session can continue this process after it was stopped.

    A terminal or a container that was started for this command alone has none, and would keep what is stopped.
    """
    import psutil

    group, session = os.getpgrp(), os.getsid(0)
    for parent in psutil.Process().parents():
        try:
            if os.getsid(parent.pid) != session:
                return False
            if os.getpgid(parent.pid) != group:
                return True
        except OSError:  # it ended just now, or is another user's
            return False
    return False


class ConsoleDriver(LinuxDriver):
    """Writes nothing that the console does not know."""

    def write(self, data: str) -> None:
        """Write without the sequences that would be printed."""
        super().write(_UNKNOWN.sub("", data))
