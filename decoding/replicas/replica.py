"""A replica: it has the models and decodes one prompt after the other, as a plain run does, into its outbox."""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from spectui.decoding.errors import DecodingError, one_line
from spectui.decoding.machine.versions import run_versions
from spectui.decoding.models.fingerprint import Basis, model_files
from spectui.decoding.replicas.messages import Batch, Facts, Loaded, Pulse
from spectui.decoding.replicas.outbox import Outbox
from spectui.store.writing.writer import PendingGeneration

if TYPE_CHECKING:
    from spectui.decoding.config import RunConfig
    from spectui.decoding.worker.prompt_runner import PromptRunner

Stage = tuple[str, float | None, float | None, str]
UNKNOWN_DEVICE = ""


log = logging.getLogger("spectui.replica")


def answered(replica: Replica, method: str, arguments: tuple[Any, ...]) -> tuple[Any, str]:
    """The value of a request, or one line of what it raised."""
    try:
        return getattr(replica, method)(*arguments), ""
    except DecodingError as error:
        return None, str(error)
    except Exception as error:
        log.exception("%s failed", method)
        return None, one_line(error)


class Replica:
    """Answers the requests of a dispatcher. `tell` and `pulse` may be called beside the others, from another thread.

    Loading and decoding have a thread of their own, for torch knows its device by thread.
    """

    def __init__(self) -> None:
        from spectui.decoding.worker.control import Control
        from spectui.decoding.worker.idle import IdleTime

        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decoding")
        self._idle = IdleTime(computed=time.process_time)
        self._control = Control(self._idle, signals=False)
        self._outbox = Outbox(self._control.note_trouble)
        self._runner: PromptRunner | None = None
        self._stage: Stage = ("starting Python", None, None, "")
        self._usage: Callable[[], tuple[Any, ...]] | None = None
        self._watching = threading.Event()

    # Requests.

    def facts(self, config_json: str) -> Facts:
        """The replica's host, versions and model files; loads nothing."""
        from spectui.decoding.config import RunConfig

        basis = Basis(run_versions(), UNKNOWN_DEVICE, model_files(RunConfig.from_json(config_json)))
        return Facts(socket.gethostname(), os.getpid(), basis)

    def load(self, config_json: str, choose: bool) -> Loaded:
        """Load the models, and choose the tree where it is to. Raises `DecodingError`."""
        return self._thread.submit(self._load, config_json, choose).result()

    def vocabulary(self) -> dict[int, bytes]:
        """The bytes of every token."""
        decoder = self._ready().decoder
        return dict(decoder.models.tokenizer.table(decoder.target.vocab_size))

    def start(self, generation: PendingGeneration, attempt: int) -> None:
        """Begin a prompt; `take` returns what comes of it."""
        self._ready()
        self._outbox.begin(attempt)
        self._thread.submit(self._decode, generation)

    def take(self, seconds: float) -> Batch:
        """The work since the last call; waits so long for it."""
        return self._outbox.fetch(seconds)

    def finish(self) -> Batch:
        """The rest, when no more prompts come: the last measurement of plain decoding."""
        self._outbox.begin(0)
        self._thread.submit(self._finish).result()
        return self._outbox.fetch(0.0)

    def tell(self, command: str) -> None:
        """Pass a command on to the decoding: pause, resume, skip or stop."""
        self._outbox.tell(command)

    def pulse(self) -> Pulse:
        """A sign of life."""
        if self._usage is None:
            self._usage = _usage_of_process()
        return Pulse(*self._stage, *self._usage())

    # What the thread does.

    def _load(self, config_json: str, choose: bool) -> Loaded:
        gc.disable()
        try:
            return self._load_models(config_json, choose)
        finally:
            gc.freeze()
            gc.enable()

    def _load_models(self, config_json: str, choose: bool) -> Loaded:
        from spectui.decoding.config import RunConfig
        from spectui.decoding.models.load import load_models
        from spectui.decoding.trees.costs import to_json
        from spectui.decoding.worker.baseline import baselines_of
        from spectui.decoding.worker.choose_tree import known_costs, with_tree
        from spectui.decoding.worker.measure_costs import device_class
        from spectui.decoding.worker.prompt_runner import PromptRunner
        from spectui.decoding.worker.session import model_notes
        from spectui.decoding.worker.tree_plan import plan_of_run

        self._outbox.begin(0)
        config = RunConfig.from_json(config_json)
        models = load_models(config, self._progress)
        for kind, text in model_notes(config, models):
            self._outbox.add_event(kind, text)
        basis = Basis(run_versions(), str(models.target.device), model_files(config))
        if choose:
            config = with_tree(config, models, self._progress)
        costs = known_costs(config, models)
        plan = plan_of_run(config, models, self._outbox)
        self._runner = runner = PromptRunner(self._outbox, self._control, _unlimited(config), models, plan)
        for note in runner.decoder.settings.notes:
            self._outbox.add_event("settings", note)
        runner.baselines = baselines_of(lambda: runner.decoder, self._outbox)
        self._outbox.end()
        self._progress("waiting for a prompt", None, None, "")
        return Loaded(
            basis,
            config.to_json(),
            device_class(config, models),
            runner.decoder.drafter.name,
            models.tokenizer.identity,
            runner.decoder.target.vocab_size,
            None if costs is None else to_json(costs),
            self._outbox.fetch(0.0).operations,
            runner.decoder.forget_prompts(),
        )

    def _decode(self, generation: PendingGeneration) -> None:
        from spectui.decoding.machine.energy import decoding_now
        from spectui.decoding.worker.control import Skipped, Stopped

        runner = self._ready()
        self._watch()
        self._control.listen(self._outbox)
        error = ""
        decoding_now.set()
        try:
            runner.decoder.forget_prompts()
            between_prompts = not runner.decoder.rounds.interruptible
            if between_prompts and runner.baselines is not None and runner.baselines.due:
                runner.baselines.take(generation.prompt_text)
            runner.run(generation)
        except (Skipped, Stopped):
            pass
        except BaseException as failed:
            error = one_line(failed) if isinstance(failed, Exception) else repr(failed)
        finally:
            decoding_now.clear()
            self._outbox.end(error)

    def _finish(self) -> None:
        if self._runner is not None and self._runner.baselines is not None:
            self._runner.baselines.finish()
        self._outbox.end()

    def _ready(self) -> PromptRunner:
        if self._runner is None:
            raise DecodingError("the replica has no models yet")
        return self._runner

    def _watch(self) -> None:
        """Notice from now on when the process stands still."""
        if not self._watching.is_set():
            self._watching.set()
            self._idle.watched().__enter__()

    def _progress(self, stage: str, done: float | None, total: float | None, unit: str) -> None:
        self._stage = (stage, done, total, unit)


def _usage_of_process() -> Callable[[], tuple[Any, ...]]:
    """A function that returns what this process uses, as `SessionRow.heartbeat` takes it."""
    import psutil

    from spectui.decoding.machine.energy import EnergyMeter
    from spectui.decoding.machine.gpu import Gpus
    from spectui.decoding.worker.heartbeat import process_usage

    process, gpus = psutil.Process(), Gpus()
    meter = EnergyMeter(gpus=gpus)
    return lambda: process_usage(process, gpus, meter)


def _unlimited(config: RunConfig) -> RunConfig:
    """The configuration without the limits of the run, which the dispatcher keeps over all replicas."""
    return config.changed(max_seconds=None, max_nodes=None, max_tokens=None)
