"""A model hub on this machine: folders served as the real one serves repositories, gates included."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = "a" * 40
_PATH = re.compile(
    r"^/(?:api/models/)?(?P<repo>[^/]+/[^/]+)/(?P<verb>revision|tree|resolve)/(?P<revision>[^/]+)/?(?P<file>.*)$"
)


@contextmanager
def hub(folders: dict[str, Path], gated: set[str]) -> Iterator[str]:
    """Serve ``owner/name`` -> folder, revision ``main`` only; yields the address. `gated` ones refuse everyone."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            match = _PATH.match(unquote(urlparse(self.path).path))
            repo, revision = (match["repo"], match["revision"]) if match else ("", "")
            if match is None or repo not in folders:
                self.reply(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif repo in gated:
                self.reply(403, b"{}", {"X-Error-Code": "GatedRepo"})
            elif revision not in ("main", COMMIT):
                self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            elif match["verb"] == "resolve":
                self.send_file(folders[repo] / match["file"])
            else:
                files = [
                    {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": etag(path)}
                    for path in sorted(folders[repo].iterdir())
                ]
                listed = [{"rfilename": file["path"]} for file in files]
                answer = files if match["verb"] == "tree" else {"id": repo, "sha": COMMIT, "siblings": listed}
                self.reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def send_file(self, path: Path) -> None:
            if not path.is_file():
                self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
                return
            body, headers = path.read_bytes(), {"ETag": f'"{etag(path)}"', "X-Repo-Commit": COMMIT}
            wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted is None:
                self.reply(200, body, headers)
                return
            first, last = int(wanted[1]), int(wanted[2] or len(body) - 1)
            part = body[first : last + 1]
            self.reply(
                206, part, {**headers, "Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(body)}"}
            )

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def etag(path: Path) -> str:
    """A name for the file's content."""
    return hashlib.sha1(path.read_bytes()).hexdigest()
