"""The Linux console: a terminal that prints what it does not understand of a sequence."""

from __future__ import annotations

import re
from collections.abc import Mapping

from textual.drivers.linux_driver import LinuxDriver

_UNKNOWN = re.compile(
    r"\x1b\[(?:[<>=][0-9;]*u|\?(?:1004|1015|1016|2004|2026|2048)(?:[hl]|\$p))|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
)
"""Asking for keyboard protocols, focus, pasting, synchronised output, a pointer's shape. Older kernels print the
end of them."""


def is_console(environment: Mapping[str, str]) -> bool:
    """Whether this is the console of a Linux machine, without a terminal program."""
    return environment.get("TERM") == "linux"


class ConsoleDriver(LinuxDriver):
    """Writes nothing that the console does not know."""

    def write(self, data: str) -> None:
        """Write without the sequences that would be printed."""
        super().write(_UNKNOWN.sub("", data))
