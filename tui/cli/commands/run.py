"""`spectui run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectui.decoding.drafters.registry import draft_help
from spectui.store.paths import expanded
from spectui.tui.cli.dashboard import display_options, open_dashboard
from spectui.tui.cli.options import State, read_duration, read_template_args, shared_options
from spectui.tui.cli.output import json_line, line
from spectui.tui.cli.terminal import has_terminal

if TYPE_CHECKING:
    from spectui.decoding.config import RunConfig


@click.command()
@click.option(
    "--study",
    is_flag=True,
    help="The published study: every prompt of every task, the tree full:3x2, greedy, a draft with probabilities, "
    "80 tokens a prompt if --max-new-tokens says no other number.",
)
@click.option("--tasks", metavar="A,B,...", help="Only these tasks (default: all).")
@click.option("--per-task", type=int, metavar="N", help="Only the first N prompts of each task.")
@click.option(
    "--prompts",
    "prompt_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='Your own prompts (default: the bundled ones), - for stdin: JSON Lines of {"task": ..., "prompt": ...}, '
    "conversations, requests to servers, common data sets, CSV or a prompt a line, also packed.",
)
@click.option(
    "--template-arg",
    "template_args",
    multiple=True,
    callback=read_template_args,
    metavar="NAME=VALUE",
    help="Set a variable of the model's chat template, as enable_thinking=false; may be given again.",
)
@click.option("--max-new-tokens", type=int, metavar="T", help="Most tokens per prompt (default: 256).")
@click.option(
    "--target",
    metavar="M",
    help="'embedded' (the default), a folder, or a hub id; MODEL@REVISION takes that branch, tag or commit, of "
    "--draft too.",
)
@click.option("--revision", metavar="REV", help="The target's revision, as behind the @ of --target.")
@click.option(
    "--draft",
    metavar="D",
    help=draft_help(),
)
@click.option(
    "--tree",
    metavar="SHAPE",
    help="dynamic:8x4, full:3x2, chain:5, recycling:8, paths:00,1 or a .json file of rank paths. Without it: the "
    "one that pays most on this machine, as with 'auto'; 'auto:FILE' gives each task its own, from a plan file "
    "(spectui advise --save).",
)
@click.option(
    "--depth", type=int, metavar="D", help="Depth of a full tree; with --branching, as --tree full:DxB."
)
@click.option("--branching", type=int, metavar="B", help="Branching of a full tree.")
@click.option("--temperature", type=float, metavar="X", help="0 decodes greedily (default: 0).")
@click.option("--top-p", type=float, metavar="P", help="Nucleus kept when sampling (default: 1).")
@click.option(
    "--raw",
    is_flag=True,
    default=None,
    help="Decode bare logits: without the repetition penalty, forbidden tokens and the like of the model's "
    "generation_config.json.",
)
@click.option("--seed", type=int, metavar="S", help="Seed of the sampling (default: 0).")
@click.option("--device", metavar="DEVICE", help="auto (GPUs, else the CPU), cpu, cuda or cuda:N.")
@click.option("--dtype", metavar="TYPE", help="auto, float32, bfloat16 or float16 (default: auto).")
@click.option(
    "--max-time",
    "max_seconds",
    callback=read_duration,
    metavar="TIME",
    help="End the run in order after so long a time of decoding: 90, 90s, 45m or 12h.",
)
@click.option("--max-nodes", type=int, metavar="N", help="End the run in order after so many nodes.")
@click.option(
    "--max-tokens", type=int, metavar="N", help="End the run in order after so many tokens, of all prompts."
)
@click.option(
    "--keep-nodes",
    metavar="WHAT",
    help="Which nodes stay when a prompt has ended: all (default), rounds (rounds, text and all counts stay; of each "
    "tree only the committed path) or N-days.",
)
@click.option(
    "--allow-pickle",
    is_flag=True,
    default=None,
    help="Also load weights that are pickled, a format that can hold code. Only for models that you trust.",
)
@click.option("--name", metavar="NAME", help="What to call the session (default: a made-up name).")
@click.option(
    "--resume",
    metavar="SESSION",
    help="Go on with a session (id, name or 'last') from its first unfinished prompt, configured as it was.",
)
@click.option(
    "--force",
    is_flag=True,
    help="With --resume: also where model files or versions have changed. With --tree auto:FILE: also where the "
    "file was made for other models or another machine.",
)
@click.option(
    "--price",
    type=float,
    metavar="P",
    help="What an hour of the device costs, in any currency: shows the cost of a million tokens in the same.",
)
@click.option("--detach", is_flag=True, help="Start the run and return at once.")
@click.option("--headless", is_flag=True, help="Print progress lines even in a terminal.")
@click.option(
    "--json", "as_json", is_flag=True, help="Headless; print one JSON object last, progress to stderr."
)
@display_options
@shared_options
@click.pass_context
def run(
    context: click.Context,
    /,
    *,
    study: bool,
    tasks: str | None,
    per_task: int | None,
    prompt_file: Path | None,
    name: str | None,
    resume: str | None,
    force: bool,
    detach: bool,
    headless: bool,
    as_json: bool,
    depth: int | None,
    branching: int | None,
    revision: str | None,
    **fields: Any,
) -> int:
    """Run prompts and record every node.

    Opens the dashboard in a terminal; in a pipe, prints progress lines and a final table. The run is a
    process of its own: it survives the terminal, and `spectui attach` finds it again.
    """
    from spectui.prompts.loader import select
    from spectui.tui.start import resume_run, start_run, study_prompts

    database = context.ensure_object(State).database
    if resume is not None:
        settings = {**fields, "tasks": tasks, "per-task": per_task, "prompts": prompt_file, "name": name}
        settings |= {"study": study or None, "depth": depth, "branching": branching, "revision": revision}
        _refuse_settings(settings)
        session = resume_run(database, resume, force=force)
    else:
        if revision is not None:
            fields["target"] = _revised(fields["target"], revision)
        named = {"tasks": tasks, "per_task": per_task, "prompts": prompt_file}
        # The study is what it is, whatever the user's defaults are.
        given = {**fields, **named, "depth": depth, "branching": branching}
        usual = {} if study else _usual(context, given)
        chosen = {key: usual.pop(key, value) for key, value in named.items()}
        config = _config({**fields, **usual}, depth, branching, study=study)
        if force and not config.plan_file:
            raise click.UsageError("--force belongs to --resume or to --tree auto:FILE")
        config = config.changed(force_budget=force)
        choose = study_prompts if study else select
        asked = choose(
            chosen["prompts"], chosen["tasks"], chosen["per_task"], lambda note: line(note, err=True)
        )
        session = start_run(database, config, asked, name)
    if detach:
        return _say_detached(database, session, as_json)
    if has_terminal() and not headless and not as_json:
        return _dashboard(context, session)
    from spectui.tui.cli.commands.attach import watch

    return watch(database, session, as_json=as_json, stop_on_interrupt=True)


def _usual(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The user's own defaults for what was not asked for."""
    from spectui.tui.settings import defaults_beside

    names = {"max_seconds": "max_time"}
    given = [names.get(key, key) for key, value in options.items() if value is not None]
    usual = defaults_beside(context.ensure_object(State).settings.run, given)
    if "max_time" in usual:
        usual["max_seconds"] = read_duration(context, context.command.params[0], usual.pop("max_time"))
    if "prompts" in usual:
        usual["prompts"] = expanded(usual["prompts"])
    return usual


def _refuse_settings(settings: dict[str, Any]) -> None:
    given = [name for name, value in settings.items() if value is not None]
    if given:
        names = {"max_seconds": "max-time", "template_args": "template-arg"}
        option = names.get(given[0], given[0].replace("_", "-"))
        raise click.UsageError(f"--resume goes on as the session was configured; leave out --{option}")


def _revised(target: str | None, revision: str) -> str:
    if target is None or "@" in target:
        raise click.UsageError("--revision belongs to a --target on the hub that names none itself")
    return f"{target}@{revision}"


def _config(fields: dict[str, Any], depth: int | None, branching: int | None, *, study: bool) -> RunConfig:
    from spectui.decoding.config import STUDY_TOKENS, STUDY_TREE, RunConfig

    if depth is not None or branching is not None:
        if fields["tree"] is not None:
            raise click.UsageError("give either --tree, or --depth and --branching")
        fields["tree"] = f"full:{3 if depth is None else depth}x{2 if branching is None else branching}"
    given = {key: value for key, value in fields.items() if value is not None}
    defaults = {"tree": STUDY_TREE, "max_new_tokens": STUDY_TOKENS, "study": True} if study else {}
    return RunConfig(**{**defaults, **given})


def _say_detached(database: Path, session: int, as_json: bool) -> int:
    from spectui.store.reading.reader import Reader

    reader = Reader(database)
    try:
        name = reader.session(session).name
    finally:
        reader.close()
    if as_json:
        json_line({"session": session, "name": name})
    else:
        line(f"session {session} '{name}' runs in the background; watch it with: spectui attach {session}")
    return 0


def _dashboard(context: click.Context, session: int) -> int:
    """The dashboard on a run just started; says afterwards how to come back where the run goes on."""
    from spectui.store.reading.reader import Reader

    code = open_dashboard(context, session)
    reader = Reader(context.ensure_object(State).database)
    try:
        if reader.session(session).live:
            line(f"the run goes on; watch it again with: spectui attach {session}")
    finally:
        reader.close()
    return code
