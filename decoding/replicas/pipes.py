"""Replicas in processes of this machine, each with a pipe: requests go in, answers come out, pickled.

Both ends are ours and nobody else has them, so that there is nothing to authenticate.
"""

from __future__ import annotations

import os
import pickle
import selectors
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from spectui.decoding.errors import DecodingError
from spectui.decoding.processes import python, start
from spectui.decoding.replicas.frames import Frames, framed
from spectui.decoding.replicas.transport import Answer, Link
from spectui.decoding.worker.launch import MODEL_PROCESS

CHILD = "spectui.decoding.replicas.child"
SEND_SECONDS = 0.01
"""Until what a full pipe did not take is tried again."""
END_SECONDS = 2.0
"""Time that a replica has to end by itself."""


class PipeLink:
    """A process and its pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.requests, self.answers = process.stdin.fileno(), process.stdout.fileno()
        self.frames = Frames()
        self.open = True
        self.unsent = bytearray()
        """Of requests: a process that is stopped takes what its pipe holds, and must not stop who asks it."""
        os.set_blocking(self.requests, False)
        os.set_blocking(self.answers, False)

    def ask(self, method: str, *arguments: Any) -> None:
        """See `Link`; the end of a process is seen where its answers are read."""
        if self.open:
            self.unsent += framed(pickle.dumps((method, arguments)))
            self.send()

    def send(self) -> None:
        """Send of `unsent` what the pipe takes."""
        try:
            while self.unsent:
                del self.unsent[: os.write(self.requests, self.unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.unsent.clear()

    def cut(self) -> None:
        """See `Link`."""
        self.open = False
        self.process.kill()


class Pipes:
    """See `Transport`. `devices` are GPUs by what ``CUDA_VISIBLE_DEVICES`` calls them, or "" for the CPU."""

    name = "processes"

    def __init__(self, devices: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.devices: Sequence[str] = list(devices)
        self._environment = environment or {}
        self._selector = selectors.DefaultSelector()
        self._links: dict[PipeLink, str] = {}

    def start(self) -> Link:
        """See `Transport`; takes the first device that no other has."""
        free = list(self.devices)
        for link, device in self._links.items():
            if link.open:
                free.remove(device)
        device = free[0]
        environment = {**self._environment, **({"CUDA_VISIBLE_DEVICES": device} if device else {})}
        try:
            process = start(
                python("-m", CHILD),
                defaults=MODEL_PROCESS,
                environment=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except OSError as error:
            raise DecodingError(f"a replica cannot be started: {error.strerror}") from error
        link = PipeLink(process)
        self._links[link] = device
        self._selector.register(link.answers, selectors.EVENT_READ, link)
        return link

    def wait(self, seconds: float) -> list[Answer]:
        """See `Transport`."""
        answers: list[Answer] = []
        for link in self._links:
            link.send()
        if any(link.unsent for link in self._links):
            seconds = min(seconds, SEND_SECONDS)
        for key, _ in self._selector.select(seconds):
            link = key.data
            more, ended = link.frames.read(link.answers)
            if link.open:
                answers += [Answer(link, *pickle.loads(frame)) for frame in more]
            if ended:
                lost = _end_of(link.process)
                if link.open:
                    answers.append(Answer(link, "", lost=lost))
                self._remove(link)
        return answers

    def trouble(self) -> str:
        """See `Transport`: there is nothing between the replicas and this process."""
        return ""

    def close(self) -> None:
        """See `Transport`."""
        links = list(self._links)
        for link in links:
            if link.process.stdin is not None:
                link.process.stdin.close()  # by which it ends
        deadline = time.monotonic() + END_SECONDS
        for link in links:
            try:
                link.process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                link.process.kill()
                link.process.wait()
            self._remove(link)
        self._selector.close()

    def _remove(self, link: PipeLink) -> None:
        link.open = False
        if self._links.pop(link, None) is None:
            return
        self._selector.unregister(link.answers)
        for pipe in (link.process.stdin, link.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _end_of(process: subprocess.Popen[bytes]) -> str:
    """The end, in words, of a process that closed its pipe."""
    try:
        code = process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return "it closed its pipe"
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"
