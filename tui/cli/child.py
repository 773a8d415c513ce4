"""Commands whose work needs torch run in a child: this process never imports it."""

from __future__ import annotations

from collections.abc import Mapping


def run_module(module: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> int:
    """``python -m module arguments`` with `environment` below the user's own; returns its exit code."""
    from decoding.processes import python, start

    with start(python("-m", module, *arguments), defaults=environment) as child:
        while True:
            try:
                code = child.wait()
                break
            except KeyboardInterrupt:
                continue  # the terminal sends it to the child too, which ends in its own way
    return code if code in (0, 1, 2, 130) else 1
