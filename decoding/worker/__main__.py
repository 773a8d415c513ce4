"""The process that runs a session: takes its id, decodes its prompts, writes rounds, obeys commands.

The database is its only channel. It claims the session before anything slow is imported, so that a
view shows life at once, and it never reads from or writes to a terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import platform
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError
from spectui.decoding.machine.energy import EnergyMeter, decoding_now
from spectui.decoding.machine.gpu import Gpus
from spectui.decoding.startup import import_torch, import_transformers
from spectui.decoding.worker.control import Control, LimitReached, Skipped, Stopped
from spectui.decoding.worker.log import log_to
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.store.sqlite.file_system import COST, network_kind
from spectui.store.writing.patience import PatientWriter
from spectui.store.writing.writer import SessionWriter

if TYPE_CHECKING:
    from spectui.decoding.engine import SpeculativeDecoder
    from spectui.decoding.models.fingerprint import Basis
    from spectui.decoding.worker.baseline import Baselines

HEARTBEAT_SECONDS = 1.0
LOCK_SECONDS = 2.0
"""How long SQLite waits for another process's write before we hear of it: no signal is obeyed meanwhile."""
STAGE_SECONDS = 0.2
"""Progress of loading is written at most this often."""

log = logging.getLogger("spectui.worker")


@contextlib.contextmanager
def heartbeat(database: Path, session_id: int, recorder: SessionWriter | None = None) -> Iterator[None]:
    """Say every second, from a thread with its own connection, that the process lives and what it uses, and when
    `recorder` recorded a round last."""
    done = threading.Event()

    def beat() -> None:
        process = psutil.Process()
        process.cpu_percent()
        db = connect(database, create=False, timeout=LOCK_SECONDS)
        writer = SessionWriter(db, session_id)
        said = ""
        gpus = Gpus()
        meter = EnergyMeter(gpus=gpus)
        while not done.wait(HEARTBEAT_SECONDS):
            try:
                writer.heartbeat(*_used(process, gpus, meter), recorder.round_at if recorder else None)
                said = ""
            except Exception as error:  # without heartbeats the run would be taken for dead
                if str(error) != said:  # not once a second for a whole weekend
                    said = str(error)
                    log.warning("heartbeat: %s", error)
        db.close()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5.0)


def _used(
    process: psutil.Process, gpus: Gpus, meter: EnergyMeter
) -> tuple[float | None, int | None, dict[str, Any] | None, tuple[float, float] | None]:
    """What `SessionWriter.heartbeat` takes; that the process lives is said also where what it uses cannot be told."""
    try:
        return process.cpu_percent(), process.memory_info().rss, gpus.readings(), meter.spent()
    except Exception as error:
        log.debug("what the worker uses is not known: %s", error)
        return None, None, None, None


class StageReporter:
    """Writes what loading is at, not more often than a view can show."""

    def __init__(self, writer: SessionWriter) -> None:
        self._writer = writer
        self._stage = ""
        self._written = 0.0

    def __call__(self, stage: str, done: float | None, total: float | None, unit: str) -> None:
        """See `decoding.models.load.Progress`."""
        now = time.monotonic()
        if stage != self._stage or now - self._written >= STAGE_SECONDS:
            self._stage, self._written = stage, now
            self._writer.set_stage(stage, done, total, unit)


class Refused(Exception):  # noqa: N818
    """The session cannot go on as it began; says what differs."""


def run(database: Path, session_id: int, log_file: str = "", *, force: bool = False) -> int:
    """Run the session to its end, from its first unfinished prompt; returns the exit code.

    A session that has recorded rounds goes on only with the models and versions it began with, or with
    `force`. Raises `StoreError` when it cannot be claimed.
    """
    control = Control()
    db = connect(database, create=False, timeout=LOCK_SECONDS)
    before = Reader(db).session(session_id)
    writer = PatientWriter(db, session_id, database, control.wait, control.troubled)
    writer.claim()
    if log_file:
        writer.describe(log_path=log_file)
    network = network_kind(database.resolve())
    if network is not None:
        writer.add_event("database", f"it lies on {network}: {COST}")
    with control.idle.watched(), heartbeat(database, session_id, writer):
        try:
            _decode_all(writer, control, before, Reader(db).model_files(session_id), force)
            control.note_stops(writer, "at the end of the run")
            control.end()
            writer.set_status("finished")
        except LimitReached as limit:
            control.end()
            writer.add_event("limit", f"reached {limit}")
            writer.set_status("stopped")
        except Stopped:
            control.end()
            writer.set_status("stopped")
        except Refused as refusal:
            control.end()
            log.error("%s", refusal)
            writer.add_event("refused", str(refusal))
            writer.set_status(before.status, error=str(refusal))
            return 1
        except StoreError as error:
            control.end()
            kept = writer.rescue()
            where = f"; what was recorded is in {kept}" if kept else ""
            # Nothing can be recorded any more; say so where it can still be read.
            log.error("%s%s", error, where)
            status = "stopped" if control.stopping or writer.stop_seen else "failed"
            with contextlib.suppress(StoreError):
                SessionWriter(db, session_id).set_status(status, error=str(error))
            return 1
        except DecodingError as error:
            control.end()
            writer.set_status("failed", error=str(error))
            log.error("%s", error)
            return 1
        except Exception as error:
            control.end()
            log.exception("the run failed")
            writer.set_status("failed", error=f"{type(error).__name__}: {_one_line(error)}")
            return 1
    return 0


def _decode_all(
    writer: SessionWriter,
    control: Control,
    before: SessionSummary,
    files: dict[str, dict[str, str]],
    force: bool,
) -> None:
    progress = StageReporter(writer)
    progress("starting Python", None, None, "")
    # Hundreds of thousands of objects are made here and none is garbage: looking for some costs half a second.
    gc.disable()
    config = RunConfig.from_dict(before.config)
    import_torch()
    import_transformers()
    from spectui.decoding.models.fingerprint import Basis, model_files
    from spectui.decoding.models.load import load_models
    from spectui.decoding.tokens.chat import unused_switches
    from spectui.decoding.trees.costs import to_json
    from spectui.decoding.worker.baseline import Baselines
    from spectui.decoding.worker.choose_tree import known_costs, profile_of, with_tree
    from spectui.decoding.worker.measure_costs import machine
    from spectui.decoding.worker.prompt_runner import PromptRunner
    from spectui.decoding.worker.tree_plan import budget_of_run

    models = load_models(config, progress)
    for note in models.notes:
        writer.add_event("draft", note)
    for name in unused_switches(models.tokenizer.tokenizer, config.template_args):
        writer.add_event("template", f"no chat template here mentions '{name}', so that it changes nothing")
    basis = Basis(_versions(), str(models.target.device), model_files(config))
    if before.started_at is not None:
        _go_on(writer, before, Basis(before.versions, before.device, files), basis, force)
    # One tree for the whole session: acceptance by depth and task can only be compared on the same one.
    config = with_tree(config, models, progress)
    # With budgets each task has its own; rounds say which.
    costs = known_costs(config, models, progress)
    budget = None
    if config.auto and config.speculate and costs is not None:
        budget = budget_of_run(
            config,
            writer,
            machine(config, models),
            costs,
            profile_of(config, models),
            force=config.force_budget,
        )
    runner = PromptRunner(writer, control, config, models, budget)
    for note in runner.decoder.settings.notes:
        writer.add_event("settings", note)
    gc.freeze()
    gc.enable()
    writer.describe(
        config_json=config.to_json(),
        tree=config.tree_spec,
        device=basis.device,
        drafter=runner.decoder.drafter.name,
        tokenizer_id=models.tokenizer.identity,
        versions=basis.versions,
        model_files=basis.files,
        costs_json=None if costs is None else to_json(costs),
    )
    control.note_stops(writer, "while loading")
    pending = writer.pending_generations()
    with contextlib.suppress(Skipped):
        control.check(writer)
    baselines = Baselines(lambda prompt: _measure_baseline(runner.decoder, prompt, writer))
    if pending and runner.decoder.rounds.interruptible:
        runner.after_first_round = baselines.take
    elif pending:  # its buffers are in use between the rounds of a prompt
        progress("measuring plain decoding", None, None, "")
        baselines.take(pending[0].prompt_text)
    progress("decoding", None, None, "")
    writer.set_status("running")
    decoding_now.set()
    for generation in pending:
        try:
            runner.check()
        except Skipped:
            writer.finish_generation(generation.id, "skipped", finish_reason="skipped")
        else:
            _measure_again(baselines, generation.prompt_text)
            runner.run(generation)
        writer.prune(config.keep_nodes)


def _go_on(writer: SessionWriter, before: SessionSummary, then: Basis, now: Basis, force: bool) -> None:
    """Prepare a session that has recorded something before; raises `Refused` when it would not be the same run."""
    from spectui.decoding.models.fingerprint import differences

    differing = []
    if before.rounds:  # else nothing was begun that could come out mixed
        unknown = ["which model files it began with was not recorded"]
        differing = differences(then, now) if then.files else unknown
    if differing and not force:
        raise Refused(
            f"session '{before.name}' cannot go on as it began: {'; '.join(differing)} (--force goes on all the same)"
        )
    if differing:
        writer.add_event("forced", f"resumed although {'; '.join(differing)}")
    again = writer.restart_unfinished()
    half_done = {0: "no prompt was half-done", 1: "1 half-done prompt began again"}
    writer.add_event("resumed", half_done.get(again, f"{again} half-done prompts began again"))


def _measure_baseline(decoder: SpeculativeDecoder, prompt: str, writer: SessionWriter) -> None:
    """Measure one-at-a-time decoding on the same models, and keep it; a prompt that is unfit tells nothing.

    Whatever else goes wrong with it is an event: a prompt must not fail because of what it is compared with.
    """
    from spectui.decoding.worker.baseline import TOKENS, plain_ms_per_token
    from spectui.decoding.worker.prompt_runner import out_of_memory

    try:
        measured = plain_ms_per_token(decoder, prompt, TOKENS)
    except DecodingError:
        return
    except Exception as error:
        if out_of_memory(error):
            raise
        log.exception("plain decoding could not be measured")
        why = f"{type(error).__name__}: {_one_line(error)}"
        writer.add_event("baseline", f"plain decoding could not be measured: {why}")
        return
    writer.add_baseline(measured, TOKENS)


def _measure_again(baselines: Baselines, prompt: str) -> None:
    """Measure plain decoding between two prompts when it is time to and there is memory for it."""
    from spectui.decoding.worker.prompt_runner import out_of_memory

    try:
        baselines.take_if_due(prompt)
    except Exception as error:
        if not out_of_memory(error):
            raise
        log.warning("no memory to measure plain decoding again: %s", _one_line(error))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("spectui", "torch", "transformers")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def main() -> int:
    """Entry point of ``python -m spectui.decoding.worker``."""
    parser = argparse.ArgumentParser(prog="spectui worker", description=__doc__)
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--session", type=int, required=True)
    parser.add_argument("--log", default="")
    parser.add_argument("--force", action="store_true")
    arguments = parser.parse_args()
    log_to(arguments.log)
    try:
        return run(arguments.db, arguments.session, arguments.log, force=arguments.force)
    except StoreError as error:
        log.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
