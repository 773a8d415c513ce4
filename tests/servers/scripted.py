"""A small server on this machine that answers as a test says: as real servers were recorded, or badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

RECORDED = Path(__file__).with_name("recorded")


@dataclass
class Reply:
    """An answer; `body` may be parts that are sent one after the other."""

    body: bytes | Iterable[bytes]
    kind: str = "application/json"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    reason: str | None = None
    """Words after the status; the usual ones if None."""
    hangs: bool = False
    """True: after that the line is held, silently, until the server ends."""


Route = Callable[[dict[str, Any]], Reply]
"""Makes a reply from the JSON of a request."""


def as_json(value: object, status: int = 200) -> Reply:
    return Reply(json.dumps(value).encode(), status=status)


def as_stream(events: Iterable[object], *, done: bool = True) -> Reply:
    def parts() -> Iterator[bytes]:
        for event in events:
            yield f"data: {json.dumps(event)}\n\n".encode()
        if done:
            yield b"data: [DONE]\n\n"

    return Reply(parts(), "text/event-stream")


def silent() -> Reply:
    """Begins an answer, then holds the line until the other side gives up."""
    return Reply(b"data: {}\n\n", "text/event-stream", hangs=True)


class ScriptedServer:
    """Serves routes by their paths; a context. `asked` has the requests, `headers` those of the last one."""

    def __init__(self, routes: dict[str, Route]) -> None:
        self.routes = routes
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: dict[str, str] = {}
        self._ended = threading.Event()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                scripted.serve(self)

            def do_POST(self) -> None:
                scripted.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        size = int(handler.headers.get("content-length") or 0)
        body = json.loads(handler.rfile.read(size)) if size else {}
        self.asked.append((handler.path, body))
        route = self.routes.get(handler.path)
        reply = Reply(b"{}", status=404) if route is None else route(body)
        handler.send_response(reply.status, reply.reason)
        for name, value in {"content-type": reply.kind, **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        try:
            for part in (reply.body,) if isinstance(reply.body, bytes) else reply.body:
                handler.wfile.write(part)
                handler.wfile.flush()
            if reply.hangs:
                self._ended.wait(60)
        except OSError:  # the other side has had enough
            pass

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._http.shutdown()
        self._http.server_close()
