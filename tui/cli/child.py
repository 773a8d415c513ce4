"""Commands whose work needs torch run in a child: this process never imports it."""

from __future__ import annotations

import re
from collections.abc import Mapping

_OPEN_FILE = re.compile(r"(?:^|=)/(?:dev|proc/self)/fd/(\d{1,6})$")


def run_module(module: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> int:
    """``python -m module arguments`` with `environment` below the user's own; returns its exit code."""
    from decoding.processes import python, start

    # What a shell puts in for <(command) is a name of an open file of ours.
    pipes = [int(found[1]) for each in arguments if (found := _OPEN_FILE.search(each))]
    with start(python("-m", module, *arguments), defaults=environment, pass_fds=pipes) as child:
        while True:
            try:
                code = child.wait()
                break
            except KeyboardInterrupt:
                continue  # the terminal sends it to the child too, which ends in its own way
    return code if code in (0, 1, 2, 130) else 1
