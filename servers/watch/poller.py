"""Asks a server for its counters, once a second, in a thread of its own; one that is silent less and less often."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from spectui.decoding.errors import one_line
from spectui.servers.client import Bounds, Client
from spectui.servers.errors import NotFound, ServerError
from spectui.servers.kinds import recognise
from spectui.servers.metrics import PageError, read_page
from spectui.servers.watch.clock import Clock
from spectui.servers.watch.server import About, Watched
from spectui.servers.words import clean
from spectui.store.samples import Sample

PERIOD_S = 1.0
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Until a silent server is asked again."""
BOUNDS = Bounds(connect_seconds=3.0, silent_seconds=5.0, whole_seconds=8.0, most_bytes=8 << 20)
ASK_AGAIN_S = 30.0
METRICS = "/metrics"
NO_METRICS = "answers, but has no /metrics: start it with --metrics (llama.cpp) or --enable-metrics (SGLang)"


class Poller:
    """The thread that asks one server. `on_answer` is called after each answer, in that thread."""

    def __init__(
        self,
        server: Watched,
        key_env: str = "",
        on_answer: Callable[[], None] = lambda: None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.server = server
        self._client = Client(server.url, key_env, BOUNDS)
        self._on_answer = on_answer
        self._clock = clock or Clock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._decoded: dict[int, float] = {}
        """Task of llama.cpp -> tokens it has decoded so far."""
        self._asked_about: tuple[float | None, int] | None = None
        """The start of the server that was asked about itself."""
        self._asked_at = 0.0
        self._has_slots = True
        """False once it said that it was started without them, until it starts anew."""
        self._failures = 0

    def start(self) -> None:
        """Begin. The thread is a daemon: it never keeps the process alive."""
        self._thread = threading.Thread(target=self._run, name=f"watch {self.server.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End for good, soon."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            self.poll()
            self._on_answer()
            pause = BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1] if self._failures else PERIOD_S
            self._stopped.wait(max(pause - (time.monotonic() - began), 0.05))
        self._client.close()

    def poll(self) -> bool:
        """Ask once; True when the server told its counters."""
        before = self.server.history.last
        try:
            text = self._client.text(METRICS)
            at = self._clock()
            sample = read_page(text, at)
            self._compare_clocks(at)
            if sample.engine == "llama.cpp":
                sample = self._with_slots(sample, before)
        except NotFound:
            self._fail(NO_METRICS, foreign=True)
        except PageError as error:
            self._fail(clean(str(error)), foreign=True)
        except ServerError as error:
            self._fail(clean(_short(str(error), self.server.url)), foreign=not error.passing)
        except (
            Exception
        ) as error:  # a thread's error would be lost, and old figures would pass for those of now
            self._fail(clean(f"its answer cannot be read: {one_line(error)}"), foreign=True)
        else:
            self._failures = 0
            self.server.take(sample, len(text))
            self._ask_about_if_due(sample)
            return True
        return False

    def _fail(self, words: str, *, foreign: bool) -> None:
        self._failures += 1
        self.server.fail(words, self._clock(), foreign=foreign)

    def _compare_clocks(self, at: float) -> None:
        date = self._client.answered_at
        if not date:
            return
        try:
            skew = parsedate_to_datetime(date).timestamp() - at
        except (ValueError, TypeError, OverflowError):
            return
        # A header has whole seconds, and the answer took its time.
        self.server.tell_clock(0.0 if abs(skew) < 2.5 else skew, at)

    def _with_slots(self, sample: Sample, before: Sample | None) -> Sample:
        """llama.cpp counts when a request ends; its slots say how far those at work are."""
        if not self._has_slots:
            return sample
        try:
            slots = self._client.json("/slots")
        except ServerError as error:
            self._has_slots = error.passing
            return sample
        if not isinstance(slots, list):
            return sample
        decoded: dict[int, float] = {}
        speculative: bool | None = sample.speculative
        for slot in slots:
            if not isinstance(slot, Mapping):
                continue
            if isinstance(slot.get("speculative"), bool):
                speculative = speculative or slot["speculative"]
            count = _decoded(slot)
            if slot.get("is_processing") and count is not None and isinstance(slot.get("id_task"), int):
                decoded[slot["id_task"]] = count
        rate: float | None = None
        # Requests that run, of which no slot says how far they are: nothing is known, which is not 0.
        if before is not None and sample.at > before.at and (decoded or not sample.running):
            brought = sum(count - self._decoded.get(task, 0.0) for task, count in decoded.items())
            rate = max(brought, 0.0) / (sample.at - before.at)
        self._decoded = decoded
        return replace(sample, speculative=speculative, live_rate=rate)

    def _ask_about_if_due(self, sample: Sample) -> None:
        """Ask for version and model at each start of the server, and now and then while something is not known."""
        if self.server.history.segments.mixed:
            return  # every other poll would be another server's start
        start = (sample.mark, self.server.history.segment)
        self._has_slots |= self._asked_about not in (None, start)
        about = self.server.about
        known = about.version and about.model and (about.drafter or sample.engine != "llama.cpp")
        if start != self._asked_about or (not known and sample.at - self._asked_at >= ASK_AGAIN_S):
            self._asked_about, self._asked_at = start, sample.at
            self._ask_about()

    def _ask_about(self) -> None:
        """Version, model and way of drafting, as far as the server tells them; asked once for each start of it."""
        try:
            server = recognise(self._client)
        except ServerError:
            return
        model = server.models[0] if server.models else ""
        method = "" if server.method == "none" else server.method
        self.server.about = About(clean(server.version, 40), clean(model, 120), method)


def tells_counters(address: str) -> bool:
    """True when a server that spectui knows answers there."""
    bounds = Bounds(connect_seconds=0.5, silent_seconds=1.0, whole_seconds=2.0, most_bytes=8 << 20)
    try:
        with Client(address, bounds=bounds) as client:
            read_page(client.text(METRICS), 0.0)
    except (ServerError, PageError):
        return False
    return True


def _decoded(slot: Mapping[str, Any]) -> float | None:
    following = slot.get("next_token")
    if isinstance(following, list):
        following = following[0] if following else None
    count = following.get("n_decoded") if isinstance(following, Mapping) else None
    return float(count) if isinstance(count, int) and 0 <= count < 2**53 else None


def _short(words: str, url: str) -> str:
    """A fault without the address, which stands beside it."""
    for noun in (f"{url}{METRICS} ", f"{url} "):
        words = words.replace(noun, "")
    match = re.fullmatch(r"no server answers at \((?:\[Errno -?\d+\] )?(.*)\); is it running\?", words)
    return match.group(1) if match else words
