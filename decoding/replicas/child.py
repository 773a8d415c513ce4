"""The process of a replica behind a pipe (``python -m spectui.decoding.replicas.child``)."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import sys
import threading
from typing import Any

from spectui.decoding.replicas.frames import Frames, write_frame
from spectui.decoding.replicas.lifeline import die_with_parent
from spectui.decoding.replicas.replica import Replica, answered
from spectui.decoding.replicas.transport import QUICK
from spectui.decoding.worker.log import FORMAT


class Server:
    """Answers requests from one descriptor on another until the first is closed: the dispatcher is gone then."""

    def __init__(self, replica: Replica, requests: int, answers: int) -> None:
        self._replica = replica
        self._requests, self._answers = requests, answers
        self._writing = threading.Lock()
        self._turns: queue.SimpleQueue[tuple[str, tuple[Any, ...]]] = queue.SimpleQueue()

    def serve(self) -> None:
        """Answer; `QUICK` requests at once, the others one after the other."""
        threading.Thread(target=self._take_turns, name="answers", daemon=True).start()
        frames, ended = Frames(), False
        while not ended:
            requests, ended = frames.read(self._requests)
            for request in requests:
                method, arguments = pickle.loads(request)
                if method in QUICK:
                    self._answer(method, arguments)
                else:
                    self._turns.put((method, arguments))

    def _take_turns(self) -> None:
        while True:
            self._answer(*self._turns.get())

    def _answer(self, method: str, arguments: tuple[Any, ...]) -> None:
        value, error = answered(self._replica, method, arguments)
        try:
            payload = pickle.dumps((method, value, error))
            with self._writing:
                write_frame(self._answers, payload)
        except OSError:
            os._exit(0)  # nobody is there to answer


def main() -> None:
    """Serve the dispatcher that started this process, until it is gone."""
    die_with_parent()
    # Whatever libraries print goes to the worker's log, not among the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, format=FORMAT)
    Server(Replica(), 0, answers).serve()
    # Decoding may go on for seconds, and nobody waits for it.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
