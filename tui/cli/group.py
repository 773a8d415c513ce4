"""The top command. Commands import what they need when they run: `spectui --help` stays instant."""

from __future__ import annotations

from importlib.metadata import version

import click

from tui.cli.advise import advise
from tui.cli.attach import attach
from tui.cli.bench import bench
from tui.cli.compare import compare
from tui.cli.config import config
from tui.cli.dashboard import display_options, open_dashboard
from tui.cli.distill import distill
from tui.cli.doctor import doctor
from tui.cli.guard import GuardedGroup
from tui.cli.logs import logs
from tui.cli.models import models
from tui.cli.options import shared_options
from tui.cli.prompts import prompts
from tui.cli.report import report
from tui.cli.run import run
from tui.cli.sessions import sessions
from tui.cli.terminal import has_terminal


@click.group(cls=GuardedGroup, invoke_without_command=True)
@display_options
@shared_options
@click.version_option(version("spectui"), message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> int:
    """Watch speculative decoding: run it, see every accepted and rejected token, browse past sessions.

    Without a command, opens the dashboard.
    """
    if context.invoked_subcommand is not None:
        return 0
    if not has_terminal():
        from decoding.errors import UsageError

        raise UsageError("the dashboard needs a terminal; here, try: spectui sessions ls")
    return open_dashboard(context)


for command in (
    run,
    attach,
    sessions,
    logs,
    report,
    compare,
    advise,
    models,
    prompts,
    bench,
    distill,
    doctor,
    config,
):
    main.add_command(command)
