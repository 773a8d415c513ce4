"""`spectui bench`: a child does the work, as everything that needs torch."""

from __future__ import annotations

import os
import subprocess
import sys

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> int:
    """Measure speed against plain and assisted decoding."""
    from decoding.launch import PATIENT_THREADS

    command = [sys.executable, "-m", "decoding.bench", *arguments]
    with subprocess.Popen(command, env={**PATIENT_THREADS, **os.environ}) as child:
        while True:
            try:
                code = child.wait()
                break
            except KeyboardInterrupt:
                continue  # the terminal sends it to the child too, which ends in its own way
    return code if code in (0, 1, 2) else 1
