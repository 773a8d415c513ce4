"""A loopback server that answers as vLLM, llama.cpp or SGLang do, from a `Simulated` one in real time, or badly.

    python -m tests.servers.watch.fake 8000:vllm:eagle:4 8001:vllm:plain:4

serves until it is interrupted: PORT:ENGINE:DRAFTER:REQUESTS AT A TIME.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.servers.watch.simulated import Setup, Simulated

SETUPS = {
    "eagle": Setup(
        depth=3, survives=(0.65, 0.5, 0.5), step_ms=20.0, request_ms=1.0, draft_ms=5.0, node_ms=0.3
    ),
    "ngram": Setup(
        depth=3, survives=(0.55, 0.75, 0.4), drafts_share=0.17, step_ms=20.0, request_ms=1.0, draft_ms=25.0
    ),
    "plain": Setup(step_ms=20.0, request_ms=1.0),
}
Answer = tuple[int, str, str]
"""Status, type, text."""


class FakeServer:
    """A context that serves on a free port of the loopback, or on a port of choice."""

    def __init__(self, answer: Callable[[str], Answer | None], port: int = 0, *, date: str = "") -> None:
        self.answer = answer
        """Path -> answer; None closes the connection without one."""
        self.closed = False
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answered = None if fake.closed else fake.answer(self.path)
                if answered is None:
                    self.close_connection = True
                    return
                status, kind, text = answered
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return date or super().date_time_string(timestamp)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeServer:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True  # also for connections that are kept open
        self._server.shutdown()
        self._server.server_close()


def page(text: str) -> Answer:
    """A page of metrics."""
    return 200, "text/plain; version=0.0.4", text


def simulated(
    engine: str, setup: Setup, *, before_s: float = 0.0, seed: int = 0, more: str = ""
) -> Callable[[str], Answer | None]:
    """Answers of a server that has served for `before_s` and goes on as time does; `more` stands on its page too."""
    began = time.time()
    server = Simulated(setup, seed=seed, started=began - before_s)
    server.run(before_s)
    lock = threading.Lock()
    pages = {"vllm": Simulated.vllm, "llama.cpp": Simulated.llama, "sglang": Simulated.sglang}

    def answer(path: str) -> Answer | None:
        with lock:
            if path == "/metrics":
                server.run(max(time.time() - server.now, 0.0))
                return page(pages[engine](server) + more)
            facts: dict[str, Any] = {
                "/version": {"version": "0.32.0"} if engine == "vllm" else None,
                "/v1/models": {"data": [{"id": "smol", "owned_by": engine.replace(".", "")}]},
                "/props": {"build_info": "b7000", "total_slots": 4} if engine == "llama.cpp" else None,
                "/slots": [{"id": 0, "speculative": setup.depth > 0, "is_processing": False}]
                if engine == "llama.cpp"
                else None,
            }
            known = facts.get(path)
            return (
                (404, "text/plain", "no") if known is None else (200, "application/json", json.dumps(known))
            )

    return answer


def other_metrics() -> str:
    """Everything else that stands on a page of vLLM: it is 52 KB long."""
    text = (Path(__file__).parents[1] / "recorded" / "vllm-metrics-none.txt").read_text(encoding="utf-8")
    names = ("gen", "inter", "num_req", "time_to", "iter", "kv", "request_success")
    ours = tuple(f"vllm:{name}" for name in names)
    return "\n".join(line for line in text.splitlines() if not line.startswith(ours)) + "\n"


def main(arguments: list[str]) -> None:
    """Serve until interrupted."""
    more = ""
    if arguments[:1] == ["--long"]:
        arguments = arguments[1:]
        more = other_metrics()
    for place, argument in enumerate(arguments):
        port, engine, drafter, requests = argument.split(":")
        setup = replace(SETUPS[drafter], concurrency=int(requests))
        FakeServer(simulated(engine, setup, before_s=300.0, seed=place, more=more), int(port)).__enter__()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1:])
