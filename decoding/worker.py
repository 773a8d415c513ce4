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
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from decoding.config import RunConfig
from decoding.errors import DecodingError
from decoding.gpu import gpu_use
from store.database import connect
from store.errors import StoreError
from store.reader import Reader
from store.writer import SessionWriter

if TYPE_CHECKING:
    from decoding.engine import Round, SpeculativeDecoder

HEARTBEAT_SECONDS = 1.0
COMMAND_POLL_SECONDS = 0.1
"""How often a paused worker looks for commands; a running one looks between rounds."""
STAGE_SECONDS = 0.2
"""Progress of loading is written at most this often."""
BASELINE_TOKENS = 6

log = logging.getLogger("spectui.worker")


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A stop command or a signal asked the run to end."""


class Skipped(Exception):  # noqa: N818
    """A skip command asked for the next prompt."""


class Control:
    """What the outside wants: commands from the database, and SIGTERM or SIGINT."""

    def __init__(self, writer: SessionWriter) -> None:
        self._writer = writer
        self._stop = threading.Event()
        self.paused_seconds = 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        # The terminal that started the run may go; the run stays.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def check(self) -> None:
        """Obey what has come in; waits here while paused. Raises `Stopped` or `Skipped`."""
        paused_at: float | None = None
        skip = False
        while True:
            for kind in self._writer.take_commands():
                if kind == "stop":
                    self._stop.set()
                elif kind == "skip":
                    skip = True
                elif kind == "pause" and paused_at is None:
                    paused_at = time.perf_counter()
                    self._writer.set_status("paused")
                elif kind == "resume" and paused_at is not None:
                    self._writer.set_status("running")
                    self.paused_seconds += time.perf_counter() - paused_at
                    paused_at = None
            if self._stop.is_set():
                raise Stopped
            if skip:
                if paused_at is not None:
                    self._writer.set_status("running")
                raise Skipped
            if paused_at is None:
                return
            self._stop.wait(COMMAND_POLL_SECONDS)


@contextlib.contextmanager
def heartbeat(database: Path, session_id: int) -> Iterator[None]:
    """Say every second, from a thread with its own connection, that the process lives and what it uses."""
    done = threading.Event()

    def beat() -> None:
        process = psutil.Process()
        process.cpu_percent()
        db = connect(database, create=False)
        writer = SessionWriter(db, session_id)
        while not done.wait(HEARTBEAT_SECONDS):
            try:
                writer.heartbeat(process.cpu_percent(), process.memory_info().rss, gpu_use())
            except StoreError as error:
                log.warning("heartbeat: %s", error)
        db.close()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5.0)


class StageReporter:
    """Writes what loading is at, not more often than a view can show."""

    def __init__(self, writer: SessionWriter) -> None:
        self._writer = writer
        self._stage = ""
        self._written = 0.0

    def __call__(self, stage: str, done: float | None, total: float | None, unit: str) -> None:
        """See `decoding.models.Progress`."""
        now = time.monotonic()
        if stage != self._stage or now - self._written >= STAGE_SECONDS:
            self._stage, self._written = stage, now
            self._writer.set_stage(stage, done, total, unit)


class Recorder:
    """Writes rounds, after the bytes of every token: a tenth of a second once, instead of some each round."""

    def __init__(self, writer: SessionWriter, decoder: SpeculativeDecoder) -> None:
        from decoding.recording import to_record  # torch comes with it

        self._writer = writer
        self._to_record = to_record
        self._carried_ms = 0.0
        vocabulary = decoder.models.tokenizer
        writer.add_tokens(vocabulary.identity, vocabulary.table(decoder.target.vocab_size))

    def record(self, generation_id: int, round_: Round) -> None:
        """One round, durably. The time it takes counts as other time of the round after."""
        start = time.perf_counter()
        self._writer.record_round(generation_id, self._to_record(round_, extra_ms=self._carried_ms))
        self._carried_ms = 1e3 * (time.perf_counter() - start)


def run(database: Path, session_id: int, log_file: str = "") -> int:
    """Run the session to its end; returns the exit code. Raises `StoreError` when it cannot be claimed."""
    db = connect(database, create=False)
    writer = SessionWriter(db, session_id)
    writer.claim()
    if log_file:
        writer.describe(log_path=log_file)
    control = Control(writer)
    with heartbeat(database, session_id):
        try:
            config = RunConfig.from_dict(Reader(database).session(session_id).config)
            _decode_all(writer, control, config)
            writer.set_status("finished")
        except Stopped:
            writer.set_status("stopped")
        except StoreError as error:
            # Nothing can be recorded any more; say so where it can still be read.
            log.error("%s", error)
            with contextlib.suppress(StoreError):
                writer.set_status("failed", error=str(error))
            return 1
        except DecodingError as error:
            writer.set_status("failed", error=str(error))
            log.error("%s", error)
            return 1
        except Exception as error:
            log.exception("the run failed")
            writer.set_status("failed", error=f"{type(error).__name__}: {_one_line(error)}")
            return 1
    return 0


def _decode_all(writer: SessionWriter, control: Control, config: RunConfig) -> None:
    pending = writer.pending_generations()
    progress = StageReporter(writer)
    progress("starting Python", None, None, "")
    # Hundreds of thousands of objects are made here and none is garbage: looking for some costs half a second.
    gc.disable()
    from decoding.auto_tree import with_tree
    from decoding.engine import SpeculativeDecoder
    from decoding.models import load_models

    models = load_models(config, progress)
    # One tree for the whole session: acceptance by depth and task can only be compared on the same one.
    config = with_tree(config, models, progress)
    decoder = SpeculativeDecoder(config, models=models)
    gc.freeze()
    gc.enable()
    writer.describe(
        config_json=config.to_json(),
        tree=config.tree_spec,
        device=str(decoder.target.device),
        drafter=decoder.drafter.name,
        tokenizer_id=decoder.models.tokenizer.identity,
        versions=_versions(),
    )
    control.check()
    if pending:
        progress("measuring plain decoding", None, None, "")
        writer.describe(baseline_ms=_measure_baseline(decoder, pending[0].prompt_text))
    progress("decoding", None, None, "")
    writer.set_status("running")
    recorder = Recorder(writer, decoder)
    for generation in pending:
        try:
            control.check()
        except Skipped:
            writer.finish_generation(generation.id, "skipped", finish_reason="skipped")
            continue
        _decode_one(
            writer, control, recorder, decoder, generation.id, generation.prompt_text, generation.position
        )


def _decode_one(
    writer: SessionWriter,
    control: Control,
    recorder: Recorder,
    decoder: SpeculativeDecoder,
    generation_id: int,
    prompt: str,
    position: int,
) -> None:
    """One prompt. What goes wrong with it is recorded with it, and the run goes on."""
    tokens: list[int] = []
    text = decoder.models.tokenizer.decode
    try:
        ids = decoder.encode(prompt)
        writer.start_generation(generation_id, len(ids))
        finish = None
        for round_ in decoder.generate(ids, position=position):
            recorder.record(generation_id, round_)
            tokens += round_.tokens
            finish = round_.finish
            if finish is None:
                control.check()
        writer.finish_generation(generation_id, "finished", output=text(tokens), finish_reason=finish)
    except Skipped:
        writer.finish_generation(generation_id, "skipped", output=text(tokens), finish_reason="skipped")
    except Stopped:
        writer.finish_generation(generation_id, "skipped", output=text(tokens), finish_reason="stopped")
        raise
    except StoreError:
        raise
    except Exception as error:
        log.exception("prompt %s failed", generation_id)
        said = (
            str(error) if isinstance(error, DecodingError) else f"{type(error).__name__}: {_one_line(error)}"
        )
        writer.finish_generation(generation_id, "failed", output=text(tokens), error=said)


def _measure_baseline(decoder: SpeculativeDecoder, prompt: str) -> float | None:
    """Milliseconds per token of one-at-a-time decoding on the same models; None if the prompt is unfit."""
    from decoding.baseline import plain_ms_per_token

    try:
        return plain_ms_per_token(decoder, prompt, BASELINE_TOKENS)
    except DecodingError:
        return None


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("spectui", "torch", "transformers")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def main() -> int:
    """Entry point of ``python -m decoding.worker``."""
    parser = argparse.ArgumentParser(prog="spectui worker", description=__doc__)
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--session", type=int, required=True)
    parser.add_argument("--log", default="")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        return run(arguments.db, arguments.session, arguments.log)
    except StoreError as error:
        log.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
