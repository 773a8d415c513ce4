"""Starting a run: one way, for the command line and for the dashboard's form."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spectui.prompts.chat import to_json
from spectui.prompts.errors import PromptError
from spectui.prompts.lines import Prompt
from spectui.prompts.loader import interleave
from spectui.store.paths import expanded

if TYPE_CHECKING:
    from spectui.decoding.config import RunConfig
    from spectui.decoding.worker.launch import Replicas
    from spectui.store.records import PromptRecord

CLAIM_POLL_S = 0.05
THEIRS = "the server's"
"""Drafter and tree of a session until its server has said more."""


def start_run(
    database: Path,
    config: RunConfig,
    prompts: Sequence[Prompt],
    name: str | None = None,
    *,
    replicas: Replicas | None = None,
    cell: tuple[int, str] | None = None,
) -> int:
    """Record a session with `prompts`, tasks taking turns, start its worker, return the session's id.

    `cell` is its place in a sweep (`store.sweeps`).

    Everything that can be checked without loading a model is, before anything is written: raises
    `UsageError` for a model folder that is none, `PromptError` without prompts, `StoreError` for the
    database. A worker that cannot be started is a failed session and raises `DecodingError`.
    """
    from spectui.decoding.errors import DecodingError
    from spectui.decoding.worker.launch import ENGINE, SERVERS, launch_worker
    from spectui.store.database import connect
    from spectui.store.sessions import create_session
    from spectui.store.writing.writer import SessionWriter

    if not prompts:
        raise PromptError("there are no prompts to run; choose other --tasks or another --prompts file")
    check_replicas(config, replicas)
    config = with_addresses(config) if config.server else anchored(config)
    records = prompt_records(prompts)
    positions: Sequence[int] = range(len(records))
    part = None
    if config.shard:
        config = config.changed(independent=True)
        positions, part = _shard(config.shard, records)
    db = connect(database)
    try:
        session = create_session(
            db,
            name=name,
            config_json=config.to_json(),
            target=(config.model or config.server) if config.server else model_name(config.target),
            drafter=THEIRS if config.server else model_name(config.draft_name),
            tree=THEIRS if config.server else config.tree_label,
            prompts=[records[position] for position in positions],
            positions=positions,
            shard_json=part,
            cell=cell,
        )
        try:
            launch_worker(database, session, module=SERVERS if config.server else ENGINE, replicas=replicas)
        except DecodingError as error:
            SessionWriter(db, session).set_status("failed", error=str(error))
            raise
    finally:
        db.close()
    return session


def prompt_records(prompts: Sequence[Prompt]) -> list[PromptRecord]:
    """Prompts as a session keeps them, tasks taking turns."""
    from spectui.store.records import PromptRecord

    return [
        PromptRecord(p.id, p.task, p.text, None if p.messages is None else to_json(p.messages))
        for p in interleave(prompts)
    ]


def _shard(shard: str, records: Sequence[PromptRecord]) -> tuple[Sequence[int], str]:
    """The positions of a shard's prompts among those of the run, and its place among the others as JSON."""
    from spectui.decoding.options import read_shard
    from spectui.store.merging.shards import Shard, digest_of, positions_of

    number, of = read_shard(shard)
    positions = positions_of([record.task for record in records], number, of)
    if not positions:
        raise PromptError(f"--shard {shard} has no prompts: no task has {number} of them; use fewer shards")
    return positions, Shard(number, of, len(records), digest_of(records)).to_json()


def resume_run(
    database: Path, ref: int | str, *, force: bool = False, replicas: Replicas | None = None
) -> int:
    """Start a worker for a session that ended before its prompts did; returns the session's id.

    The worker looks whether model files and versions are as they were (`decoding.models.fingerprint`), which
    `force` overrides, so that a refusal is in the session. Raises `StoreError` when there is nothing to go
    on with or somebody is at work on it, `DecodingError` when the worker does not start.
    """
    from spectui.decoding.config import RunConfig
    from spectui.decoding.errors import DecodingError
    from spectui.decoding.worker.launch import ENGINE, SERVERS, launch_worker, log_path
    from spectui.decoding.worker.log import last_words
    from spectui.store.database import connect
    from spectui.store.errors import StoreError
    from spectui.store.liveness import process_is_alive
    from spectui.store.reading.reader import Reader

    # The worker writes to it, so that a file of an older spectui is upgraded now.
    connect(database, create=False).close()
    with Reader(database) as reader:
        summary = reader.session(ref)
        if summary.live:
            raise StoreError(
                f"session '{summary.name}' is {summary.status}; watch it with: spectui attach {summary.id}"
            )
        if summary.of_clients:
            raise StoreError(
                f"session '{summary.name}' has requests of a server's clients: spectui watch --vllm-dir goes on with it"
            )
        if not reader.unfinished(summary.id):
            raise StoreError(
                f"session '{summary.name}' has no unfinished prompt: there is nothing to go on with"
            )
        module = SERVERS if summary.config.get("server") else ENGINE
        check_replicas(RunConfig.from_dict(summary.config), replicas)
        pid = launch_worker(database, summary.id, module=module, force=force, replicas=replicas)
        # Until the worker has taken the session it looks ended to whoever watches it.
        try:
            while reader.session(summary.id).pid != pid:
                if not process_is_alive(pid, None):
                    log = log_path(database, summary.id)
                    raise DecodingError(f"the worker ended before it began: {last_words(log)} (log: {log})")
                time.sleep(CLAIM_POLL_S)
        except KeyboardInterrupt:
            # It would begin, unwatched, as soon as it can.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            raise
    return summary.id


def check_replicas(config: RunConfig, replicas: Replicas | None) -> None:
    """Raise `UsageError` for replicas that the configuration does not go with, or whose cluster nobody answers for."""
    if replicas is None:
        return
    from spectui.decoding.replicas.devices import (
        check_address,
        check_config,
        check_ray,
        local_devices,
        read_count,
    )

    check_config(config)
    count = read_count(replicas.count)
    if replicas.ray:
        check_address(replicas.ray)
        check_ray(replicas.ray)
    else:
        local_devices(config, count)


def with_addresses(config: RunConfig) -> RunConfig:
    """`config` with the addresses of its servers in one form.

    Raises `UsageError` for those that are none and for a model that is not served, `ServerError` where none answers.
    """
    from spectui.decoding.errors import UsageError
    from spectui.servers.address import key_for, read_address
    from spectui.servers.client import Client
    from spectui.servers.kinds import VLLM, choose_model, recognise
    from spectui.servers.worker.baseline import refuse_drafting

    baseline = config.baseline_server
    config = config.changed(
        server=read_address(config.server),
        baseline_server=read_address(baseline, "--baseline-server") if baseline else "",
        vllm_dir=str(expanded(config.vllm_dir).absolute()) if config.vllm_dir else "",
    )
    if config.baseline_server == config.server:
        raise UsageError("--baseline-server is --server itself; give the same server without speculation")
    if config.vllm_dir and not Path(config.vllm_dir).is_dir():
        raise UsageError(f"--vllm-dir: there is no folder {config.vllm_dir}")
    with Client(config.server, config.api_key_env) as client:
        server = recognise(client)
        choose_model(server, config.model, config.server)
        if config.vllm_dir and server.kind != VLLM:
            raise UsageError(f"--vllm-dir is for a vLLM, and {config.server} is {server.kind}; leave it out")
    if config.baseline_server:
        with Client(
            config.baseline_server, key_for(config.baseline_server, config.server, config.api_key_env)
        ) as client:
            refuse_drafting(client, recognise(client))
    return config


def anchored(config: RunConfig) -> RunConfig:
    """`config` with its files as absolute paths, for the worker may run, or be resumed, from elsewhere; and
    with its drafter named, for what the default is may change.

    Raises `UsageError` when a model given as a path is no model folder.
    """
    from spectui.decoding.config import CHAIN_BESIDE, FROM_FILE

    changes = {
        option: str(_model_folder(option, value) or value)
        for option, value in (("target", config.target), ("draft", config.base_draft))
    }
    changes["draft"] += config.lookup_suffix
    tree, plus, chain = config.tree.partition(CHAIN_BESIDE)
    if config.plan_file:
        from spectui.decoding.trees.plan_file import read_plan

        file = expanded(config.plan_file).absolute()
        # What it is for is checked by the worker, which knows the models.
        for each in read_plan(file).distinct_trees:
            config.changed(tree=each)  # raises for one that the drafter cannot draft
        changes["tree"] = f"{FROM_FILE}{file}{plus}{chain}"
    elif tree.endswith(".json"):
        changes["tree"] = f"{Path(tree).absolute()}{plus}{chain}"
    return config.changed(**changes)


def model_name(model: str) -> str:
    """The name of a `target` or `draft` value on screen."""
    from spectui.decoding.config import EMBEDDED_TARGET

    if model == EMBEDDED_TARGET:
        from spectui.decoding.checkpoints.embedded import EMBEDDED

        return EMBEDDED.name
    return Path(model).name if Path(model).is_absolute() else model


def _model_folder(option: str, value: str) -> Path | None:
    """The folder that `value` names; None for the id of a model or the name of a drafter."""
    from spectui.decoding.config import EMBEDDED_TARGET
    from spectui.decoding.drafters.registry import kind_of
    from spectui.decoding.errors import UsageError

    if value == EMBEDDED_TARGET or (option == "draft" and kind_of(value).named):
        return None
    path = expanded(value)
    if not path.is_dir():
        if value.startswith((".", "/", "~")) or value.count("/") > 1:  # no such model id
            raise UsageError(f"--{option}: there is no folder {value}")
        return None
    if not (path / "config.json").is_file():
        raise UsageError(f"--{option}: {value} is no model folder, it has no config.json")
    return path.absolute()
