"""`spectui bench`: a child does the work, as everything that needs torch."""

from __future__ import annotations

import click

from spectui.tui.cli.child import run_module


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> int:
    """Measure speed against plain and assisted decoding."""
    from spectui.decoding.worker.launch import MODEL_PROCESS

    return run_module("spectui.decoding.bench.__main__", arguments, MODEL_PROCESS)
