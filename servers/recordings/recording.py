"""The recording of one start of a server as a session: each of its requests a prompt."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from spectui.servers.recordings.files import Start, Stream
from spectui.servers.recordings.joining import Begun, First, Happened, Joined, Joiner, Over
from spectui.servers.recordings.names import failure_of, names_of, reason_of
from spectui.servers.recordings.rows import (
    MOST_NAME,
    Damaged,
    Meta,
    Request,
    Stat,
    Verified,
    printable,
    read_line,
)
from spectui.servers.recordings.texts import Texts, find_texts
from spectui.servers.rounds import ServerRound, to_record
from spectui.store.database import Connection
from spectui.store.errors import BadRound
from spectui.store.records import UNKNOWN_TOKEN
from spectui.store.sources import Server
from spectui.store.writing.requests import (
    NewRequest,
    Recorded,
    RequestWriter,
    recording_of,
    session_of_start,
)

BEAT_S = 1.0
PLACE_S = 10.0
"""Between two notes of how far the files are read, at least."""
EARLY_S = 10.0
"""For how long verdicts wait for a commit that does not come, as the request was aborted."""
HOLD_S = 0.03
"""The time that one transaction should take: others wait for their turn."""
QUIET_S = 600.0
"""A server of another host that has written nothing for so long counts as gone; of this host its
processes tell, but for those of a container."""
MANY = 500
"""Rows of one side that wait for the other, from which on the other is read alone."""
REMOVED = "▯"
"""Stands where a token's id was left out."""
UNFINISHED = "the recording ends before the request does"
_CLOCK_S = 5.0
"""By which a process may seem to have begun after its first row."""


class Recording:
    """The session of one server's start, made or found; `text` is False where no token is to be kept."""

    def __init__(self, db: Connection, start: Start, tokenizer: Path | None, *, text: bool = True) -> None:
        self.start = start
        self._text = text
        self._joiner = Joiner()
        self._open: dict[str, Recorded] = {}
        self._damaged = 0
        self._noted: set[str] = set()
        self._stats: dict[Stream, Stat] = {}
        self._spelled: set[int] = set()
        self._latest = 0.0
        self._longest = 0
        self._temperature = 0.0
        """The highest of any request."""
        self._beat_at = self._place_at = float("-inf")
        self._mark: tuple[float, dict[str, int], set[str]] | None = None
        """A time, the places in the files then, and the requests that were unfinished there."""
        self.ended = False
        """True where the server is gone and all of it is recorded."""
        self.stopped = self._paused = False
        self.begun = min(meta.at for meta in start.metas)
        server = self._server()
        session = session_of_start(db, start.key, self.begun, server, tree=_tree(start.depth))
        self.session = session
        self._writer = RequestWriter(db, session)
        self._kept = dict(recording_of(self._writer.config_json()))
        texts = find_texts(str(start.facts.get("model", "")), tokenizer) if text else None
        self._texts: Texts | None = texts
        self._vocabulary = texts.identity if texts else f"recording {session}"

    @property
    def words(self) -> str:
        """The server in a few words."""
        server = self._server()
        return " ".join(part for part in (server.name, server.model, server.method) if part)

    def claim(self) -> None:
        """Begin, or go on where it was left. Raises `StoreError` while another process records it."""
        if self._kept.get("read") == self.start.sizes() and not self._alive():
            self.ended = True  # and nothing was written since
            return
        self._writer.claim()
        if isinstance(places := self._kept.get("places"), dict):
            self.start.seek(places)
        self.take_up_files()
        self._writer.set_status("running")

    def take_up_files(self) -> None:
        """Describe the server by all files that are there now."""
        server = self._server()
        self._joiner.figures = self.start.has_figures
        self._writer.describe(
            target=server.model,
            drafter=server.method or None,
            device=server.name,
            tokenizer_id=self._vocabulary,
            versions={"spectui": version("spectui"), server.kind: server.version},
            server_json=server.to_json(),
        )
        self._name_tree(self.start.depth)
        self._writer.add_tokens(self._vocabulary, {UNKNOWN_TOKEN: REMOVED.encode()})
        self._kept["switches"] = self.start.switches
        for kind, words in self.start.notes():
            self._note(kind, words)
        if self._text and self._texts is None and self.start.switches.get("ids") is not False:
            model = server.model or "its model"
            self._note("text", f"no tokenizer of {model} is on this machine: name one with --tokenizer")

    def read(self) -> bool:
        """Record some of what is new; True while there may be more at once. Raises `StoreError`."""
        if self.stopped or (self.ended and not self._grown()):
            return False
        now = time.monotonic()
        if now - self._beat_at >= BEAT_S:
            self._beat(now)
        if self._paused or self.stopped:
            return False
        lines = [(stream, line) for stream in self._due() for line in stream.lines()]
        self._take(lines, now)
        if not lines:
            if settled := list(self._joiner.settle(now)):  # else nothing takes the database's lock
                with self._writer.portion():
                    self._record(settled)
            if not self._alive():
                self.end()
                return False
        self._keep_place(now, caught_up=not lines)
        return bool(lines)

    def end(self) -> None:
        """The server is gone: what is still open is closed."""
        with self._writer.portion():
            self._record(self._joiner.settle(float("inf")))
            for generation_id in self._writer.running():
                self._writer.end(generation_id, self._latest, "failed", error=UNFINISHED)
        self._open.clear()
        self._note_troubles()
        self._kept |= {"places": self.start.places(), "read": self.start.sizes()}
        self._writer.keep_place(self._kept)
        self._writer.finish(self._latest)
        self.start.close()
        self.ended = True

    def leave(self, error: str | None = None) -> None:
        """Record no more for now, because of an error if there is one; the next time it goes on from here."""
        if not (self.ended or self.stopped):
            if error is None:
                self._keep_place(float("inf"), caught_up=False)
            self._writer.set_status("stopped", error=error)
        self.stopped = True
        self.start.close()

    def _grown(self) -> bool:
        """True where a server that counted as gone has written more; it is taken up again."""
        if self._kept.get("read") == self.start.sizes():
            return False
        self.ended = False
        self._kept.pop("read", None)
        self._writer.claim()
        self._writer.set_status("running")
        return True

    def _alive(self) -> bool:
        """True while the server may write more."""
        metas = self.start.metas
        here = [meta for meta in metas if _beside_us(meta)]
        if here:
            return any(_runs(meta) for meta in here)
        return time.time() - self.start.written_at() < QUIET_S

    def _due(self) -> list[Stream]:
        """The files to be read next: of the side that the other waits for, else all."""
        streams = list(self.start.streams.values())
        hungry = self._joiner.hungry
        if abs(hungry) <= MANY:
            return streams
        some = [stream for stream in streams if (stream.role == "engine") == (hungry < 0)]
        return some if any(stream.more for stream in some) else streams

    def _take(self, lines: Sequence[tuple[Stream, bytes]], now: float) -> None:
        done = 0
        while done < len(lines):
            begun = time.perf_counter()
            with self._writer.portion():
                while done < len(lines) and time.perf_counter() - begun < HOLD_S:
                    self._take_line(*lines[done], now)
                    done += 1
            if done < len(lines):
                time.sleep((time.perf_counter() - begun) / 4)

    def _take_line(self, stream: Stream, line: bytes, now: float) -> None:
        try:
            rows = read_line(line)
        except Damaged:
            self._damaged += 1
            return
        for row in rows:
            if isinstance(row, Stat):
                self._stats[stream] = row
            elif not isinstance(row, Meta):
                if not isinstance(row, Verified):
                    self._latest = max(self._latest, row.at)
                self._record(self._joiner.feed(row, now))

    def _record(self, news: Iterable[Joined]) -> None:
        for item in news:
            if isinstance(item, Begun):
                self._begin(item.request)
            elif (known := self._open.get(_name(item))) is None:
                continue
            elif isinstance(item, First):
                self._spell([item.token])
                self._writer.add_first_token(known.generation_id, self._kept_token(item.token), item.reached)
            elif isinstance(item, Happened):
                self._add_round(known, item)
            else:
                self._end_request(known, item)

    def _begin(self, request: Request) -> None:
        prompt_id, task = names_of(request)
        known = self._writer.begin(
            NewRequest(
                request.id,
                prompt_id,
                task,
                request.at,
                request.prompt_tokens,
                request.temperature,
                request.most_tokens,
            )
        )
        if known.over:
            self._joiner.forget(request.id)
            return
        if known.rounds or known.reached != request.prompt_tokens:
            tokens = self._writer.output_tokens(known.generation_id)
            self._joiner.resume(request.id, known.reached or 0, tokens)
        self._open[request.id] = known
        if request.temperature:
            if request.temperature > self._temperature:
                self._temperature = request.temperature
                self._writer.name_temperature(request.temperature)
            self._note(
                "sampling",
                "some requests are sampled; p and the target's entropies are those of temperature 1",
            )

    def _add_round(self, known: Recorded, item: Happened) -> None:
        self._spell([*item.round.tokens, *(node.token_id for node in item.round.nodes)])
        if item.gap:
            words = f"the rows of {item.gap} tokens before its round {known.rounds + 1} are lost"
            self._writer.note("lost", words, known.generation_id)
        try:
            record = to_record(known.rounds + 1, self._kept_round(item.round))
            self._writer.add_round(known.generation_id, record, item.reached)
        except BadRound:
            self._damaged += 1
            return
        self._open[item.id] = replace(known, rounds=known.rounds + 1, reached=item.reached)
        nodes = item.round.nodes
        self._name_tree(len(nodes), chain=not nodes or nodes[-1].depth == len(nodes))

    def _end_request(self, known: Recorded, item: Over) -> None:
        error = failure_of(item.end)
        text = self._texts.decode(item.tokens) if self._texts and item.whole else ""
        if not item.whole:
            self._writer.note("lost", "some of its rows are lost", known.generation_id)
        self._writer.end(
            known.generation_id,
            item.end.at,
            "failed" if error else "finished",
            output=text,
            error=error,
            reason=reason_of(item.end, item.most_tokens),
            preempted=item.end.preempted,
        )
        del self._open[item.id]

    def _kept_token(self, token: int) -> int:
        return token if self._text else UNKNOWN_TOKEN

    def _kept_round(self, each: ServerRound) -> ServerRound:
        if self._text:
            return each
        nodes = tuple(node._replace(token_id=UNKNOWN_TOKEN) for node in each.nodes)
        return replace(each, tokens=(UNKNOWN_TOKEN,) * len(each.tokens), nodes=nodes)

    def _spell(self, ids: Sequence[int]) -> None:
        """Keep the bytes of tokens that are new."""
        new = [token for token in ids if token not in self._spelled]
        if new and self._texts is not None:
            self._writer.note_tokens(self._vocabulary, self._texts.bytes_of(new))
            self._spelled.update(new)

    def _name_tree(self, nodes: int, *, chain: bool = True) -> None:
        """Record the longest draft so far."""
        if nodes > self._longest:
            self._longest = nodes
            self._writer.name_tree(_tree(nodes) if chain else f"trees of up to {nodes}")

    def _beat(self, now: float) -> None:
        """A sign of life; commands are obeyed. Only whole prompts are skipped by a run, and none here."""
        self._beat_at = now
        self._writer.sign_of_life(self._latest)
        for command in self._writer.take_commands():
            if command in ("pause", "resume"):
                self._paused = command == "pause"
                self._writer.set_status("paused" if self._paused else "running")
            elif command == "stop":
                self.leave()
        self._note_troubles()

    def _keep_place(self, now: float, *, caught_up: bool) -> None:
        """Note a place in the files before which everything is recorded, so that the next time begins there."""
        if now - self._place_at < PLACE_S:
            return
        self._place_at = now
        if self._mark is not None and caught_up and now - self._mark[0] >= EARLY_S:
            self._joiner.drop_early(self._mark[2])
        unfinished = self._joiner.unfinished
        if self._mark is not None and not self._mark[2] & unfinished:
            self._kept["places"] = self._mark[1]
            self._mark = None
            self._writer.keep_place(self._kept)
        if self._mark is None:
            self._mark = (now, self.start.places(), unfinished)

    def _note_troubles(self) -> None:
        """Keep events on what went wrong, again when it has doubled."""
        counts = self._joiner.counts
        dropped = sum(stat.dropped for stat in self._stats.values())
        errors = sum(stat.errors for stat in self._stats.values())
        last = next((stat.error for stat in self._stats.values() if stat.error), "")
        damaged = self._damaged + sum(tail.damaged for tail in self.start.tails)
        for kind, number, words in (
            ("damaged", damaged, "damaged rows were left out"),
            ("lost", dropped, "rows were lost in the server: its recorder could not write them in time"),
            ("lost figures", counts.lost, "rounds have no figures: their rows did not come"),
            ("differing", counts.differing, "rounds have no figures: those that came are of another draft"),
            ("recorder", errors, f"faults inside the server's recorder, the last one: {last}"),
        ):
            if number:
                self._note(f"{kind} {number.bit_length()}", f"{number} {words}", kind)

    def _note(self, key: str, words: str, kind: str = "") -> None:
        """Keep an event, unless it was kept before."""
        if key not in self._noted:
            self._noted.add(key)
            self._writer.note_once(kind or key, words)

    def _server(self) -> Server:
        facts = self.start.facts
        host = next((meta.host for meta in self.start.metas if meta.host), "")
        kind = "SGLang" if facts.get("server") == "sglang" else "vLLM"
        texts = {name: printable(value, MOST_NAME) for name, value in facts.items() if isinstance(value, str)}
        model = texts.get("model", "")
        return Server(
            kind,
            f"file://{host}{self.start.folder.absolute()}",
            model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model,
            texts.get(kind.lower(), ""),
            texts.get("method", ""),
        )


def _name(item: First | Happened | Over) -> str:
    return item.id


def _tree(depth: int) -> str:
    return f"chain:{depth}" if depth else ""


def _beside_us(meta: Meta) -> bool:
    """True where the process numbers of a file are those of this machine, outside of containers or in the same one."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return meta.host in ("", socket.gethostname()) and meta.text("pids") in ("", space)


def _runs(meta: Meta) -> bool:
    """True while the process that began a file runs on this machine."""
    import psutil

    try:
        process = psutil.Process(meta.pid)
        gone = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return not gone and float(process.create_time()) <= meta.at + _CLOCK_S
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    except psutil.Error:
        return True
