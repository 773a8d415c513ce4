"""`spectui run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from spectui.decoding.config import AUTO, OF_MODELS_HERE, STUDY_TOKENS, STUDY_TREE, RunConfig
from spectui.decoding.options import options_of
from spectui.decoding.worker.launch import Replicas
from spectui.tui.cli.dashboard import display_options, has_terminal, open_dashboard
from spectui.tui.cli.options import State, not_empty, run_option, shared_options
from spectui.tui.cli.output import json_line, line
from spectui.tui.run_options import Request

REQUEST = options_of(Request)

BESIDE: Mapping[str, Sequence[Callable[[Any], Any]]] = {
    "study": [run_option(REQUEST[name]) for name in ("tasks", "per_task", "prompts")],
    "target": [
        click.option(
            "--revision",
            metavar="REV",
            help="Branch, tag or commit of the target, as in --target MODEL@REVISION.",
        ),
    ],
    "tree": [
        click.option(
            "--depth",
            type=int,
            metavar="D",
            help="Depth of a full tree: with --branching, the same as --tree full:DxB.",
        ),
        click.option("--branching", type=int, metavar="B", help="Branching of a full tree."),
    ],
    "allow_pickle": [
        run_option(REQUEST["name"]),
        click.option(
            "--resume",
            metavar="SESSION",
            help="Continue a session (id, name or 'last') at its first unfinished prompt, with its own options.",
        ),
        click.option(
            "--force",
            is_flag=True,
            help="With --resume: even if model files or versions have changed. With --tree auto:FILE: even if the "
            "file was made for other models or another machine.",
        ),
    ],
}
"""Field of `RunConfig` -> options that belong beside it and are none of the configuration."""


def all_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options of the configuration, in the order of its fields, and those beside them."""
    for name, each in reversed(options_of(RunConfig).items()):
        for add in reversed([run_option(each), *BESIDE.get(name, ())]):
            function = add(function)
    return function


def replica_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add ``--replicas`` and ``--ray``; see `asked_replicas`."""
    for add in (
        click.option(
            "--ray",
            metavar="HOST:PORT",
            callback=not_empty,
            help="Have a Ray cluster run the replicas (pip install 'spectui[ray]'), one a GPU unless --replicas says "
            "how many.",
        ),
        click.option(
            "--replicas",
            metavar="N",
            callback=not_empty,
            help="Decode on N replicas of the models at a time, or auto: one a GPU; without GPUs as many as cores and "
            "memory allow. A resumed session takes any number.",
        ),
    ):
        function = add(function)
    return function


def asked_replicas(replicas: str | None, ray: str | None) -> Replicas | None:
    """The replicas that the options ask for; None for none."""
    return Replicas(replicas or AUTO, ray or "") if replicas or ray else None


@click.command()
@all_options
@replica_options
@click.option("--detach", is_flag=True, help="Start the run in the background and return at once.")
@click.option("--headless", is_flag=True, help="Print progress lines even in a terminal.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object at the end, and progress to stderr. Implies --headless.",
)
@display_options
@shared_options
@click.pass_obj
def run(
    state: State,
    /,
    *,
    resume: str | None,
    force: bool,
    replicas: str | None,
    ray: str | None,
    detach: bool,
    headless: bool,
    as_json: bool,
    **values: Any,
) -> int:
    """Run prompts and record every node.

    Opens the dashboard in a terminal; in a pipe, prints progress lines and a final table. The run is a
    process of its own: it survives the terminal, and `spectui attach` finds it again.
    """
    from spectui.tui.start import resume_run, start_run

    database = state.database
    chosen = {name: value for name, value in values.items() if value is not None}
    asked = asked_replicas(replicas, ray)
    if resume is not None:
        _refuse_options(chosen)
        session = resume_run(database, resume, force=force, replicas=asked)
    else:
        config, request = configured(state, chosen)
        if force and not config.plan_file:
            raise click.UsageError("--force belongs to --resume or to --tree auto:FILE")
        config = config.changed(force_budget=force)
        prompts = request.read_prompts(study=config.study, tell=lambda note: line(note, err=True))
        session = start_run(database, config, prompts, request.name, replicas=asked)
    if detach:
        return _say_detached(state, session, as_json)
    if has_terminal() and not headless and not as_json:
        return _dashboard(state, session)
    from spectui.tui.cli.commands.attach import watch

    return watch(database, session, as_json=as_json, stop_on_interrupt=True)


def configured(state: State, chosen: dict[str, Any]) -> tuple[RunConfig, Request]:
    """The run that the options chosen mean, over the user's own defaults. Raises `UsageError`."""
    if not chosen.get("study"):  # which is what it is, whatever the user's defaults are
        chosen = _with_defaults(state, chosen)
    request = Request.taken_from(chosen)
    return _config(chosen), request


def _with_defaults(state: State, chosen: dict[str, Any]) -> dict[str, Any]:
    """The options chosen, over the user's own defaults."""
    from spectui.tui.settings import defaults_beside, run_settings

    options = run_settings()
    keys = {each.name: key for key, each in options.items()}
    defaults = defaults_beside(state.settings.run, [keys.get(name, name) for name in chosen])
    values = {options[key].name: options[key].from_setting(value) for key, value in defaults.items()}
    if chosen.get("server"):  # which has models of its own
        values = {name: value for name, value in values.items() if name not in OF_MODELS_HERE}
    return values | chosen


def _refuse_options(chosen: Mapping[str, Any]) -> None:
    for parameter in click.get_current_context().command.params:
        if parameter.name in chosen:
            raise click.UsageError(
                f"--resume goes on as the session was configured; leave out {parameter.opts[0]}"
            )


def _config(chosen: dict[str, Any]) -> RunConfig:
    """The configuration that the options mean; a target's revision and a full tree have options of their own."""
    revision, depth, branching = (chosen.pop(name, None) for name in ("revision", "depth", "branching"))
    if revision is not None:
        if "@" in chosen.get("target", "@"):
            raise click.UsageError("--revision belongs to a --target on the hub that names none itself")
        chosen["target"] += f"@{revision}"
    if depth is not None or branching is not None:
        if "tree" in chosen:
            raise click.UsageError("give either --tree, or --depth and --branching")
        chosen["tree"] = f"full:{3 if depth is None else depth}x{2 if branching is None else branching}"
    study: dict[str, Any] = (
        {"tree": STUDY_TREE, "max_new_tokens": STUDY_TOKENS} if chosen.get("study") else {}
    )
    return RunConfig(**study | chosen)


def _say_detached(state: State, session: int, as_json: bool) -> int:
    with state.reader() as reader:
        name = reader.session(session).name
    if as_json:
        json_line({"session": session, "name": name})
    else:
        line(f"session {session} '{name}' runs in the background; watch it with: spectui attach {session}")
    return 0


def _dashboard(state: State, session: int) -> int:
    """The dashboard on a run just started; says afterwards how to come back where the run goes on."""
    code = open_dashboard(state, session)
    with state.reader() as reader:
        if reader.session(session).live:
            line(f"the run goes on; watch it again with: spectui attach {session}")
    return code
