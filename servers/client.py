"""HTTP with a server: bounded in bytes and time, with a key that is never stored or printed, faults in one line."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from spectui.decoding.config import NAMES_VARIABLE, names_variable
from spectui.decoding.errors import UsageError
from spectui.servers.address import is_local
from spectui.servers.errors import NotFound, ServerError
from spectui.servers.words import clean

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which asking again may help."""
_NO_KEY = "name the variable that has the key: --api-key-env NAME"
_SHOWN = 160
"""Characters of a server's own words in a message."""
MOST_EVENT_BYTES = 8 << 20
SECONDS_A_TOKEN = 5.0
"""For an answer, at the slowest server that is waited for."""
DONE = "[DONE]"
"""The last event of a stream, as OpenAI's API has it."""


@dataclass(frozen=True)
class Bounds:
    """The most that is waited for and read."""

    connect_seconds: float = 5.0
    silent_seconds: float = 60.0
    """Between two pieces of an answer; the first one of a long prompt takes longest."""
    whole_seconds: float = 600.0
    """Waited for one answer, from its beginning to its end."""
    most_bytes: int = 64 << 20
    """Of one answer, however it comes."""

    @classmethod
    def of_tokens(cls, most: int, *, streamed: bool = True) -> Bounds:
        """Bounds for answers of so many tokens at most, however slow the server."""
        seconds = most * SECONDS_A_TOKEN
        return cls(
            silent_seconds=cls.silent_seconds if streamed else max(cls.silent_seconds, seconds),
            whole_seconds=max(cls.whole_seconds, seconds),
        )


class Client:
    """A connection to one server, for one thread at a time. A context that closes it."""

    def __init__(self, address: str, key_env: str = "", bounds: Bounds = Bounds()) -> None:
        self.address = address
        self.answered_at = ""
        """The server's own time of its last answer, an HTTP date; "" where it names none."""
        self._bounds = bounds
        self._key = read_key(key_env)
        # Packed, a small answer could be larger than memory.
        headers = {"user-agent": "spectui", "accept-encoding": "identity"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._http = httpx2.Client(
            base_url=address,
            headers=headers,
            timeout=httpx2.Timeout(bounds.silent_seconds, connect=bounds.connect_seconds),
            verify=_tls(),
            trust_env=not is_local(address),  # proxies of the environment, but none to this machine
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; an answer that is being read in another thread ends with a `ServerError`."""
        self._http.close()

    def text(self, path: str) -> str:
        """The answer to a GET, as text. Raises `ServerError`."""
        return self._whole("GET", path, None)[0]

    def json(self, path: str) -> Any:
        """The answer to a GET, from JSON. Raises `ServerError`, which is `NotFound` without such a route."""
        return self._parsed(path, *self._whole("GET", path, None))

    def post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any:
        """The answer to a POST of JSON, from JSON. Raises `ServerError`."""
        return self._parsed(path, *self._whole("POST", path, body, headers))

    def stream(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The JSON events of a streamed answer, up to its end mark. Raises `ServerError`, also for one without."""
        with self._explained(path), self._request("POST", path, body, headers) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "text/event-stream":
                raise self._no_stream(path, response)
            for event in httpx2.EventSource(response, MOST_EVENT_BYTES):
                if event.data.strip() == DONE:
                    return
                yield self._event(path, event.data)
            raise ServerError(f"{self.address} cut the answer off before its end", passing=True)

    @contextlib.contextmanager
    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None
    ) -> Iterator[httpx2.Response]:
        content = None if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json"} if body is not None else {}
        with self._http.stream(method, path, content=content, headers=sent | dict(headers or {})) as response:
            self.answered_at = response.headers.get("date", "")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ServerError(f"{self.address}{path} packs its answer, which nobody asked for")
            assert isinstance(response.stream, httpx2.SyncByteStream)
            response.stream = _Bounded(response.stream, self._bounds, self.address)
            if response.status_code != 200:
                raise self._refusal(path, response)
            yield response

    def _whole(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[str, str]:
        """The text of an answer, and its type."""
        with self._explained(path), self._request(method, path, body, headers) as response:
            return "".join(response.iter_text()), response.headers.get("content-type", "")

    def _parsed(self, path: str, text: str, kind: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            if "html" in kind or text.lstrip()[:1] == "<":
                raise ServerError(
                    f"{self.address}{path} is a web page, no API; give the address of the server itself"
                ) from error
            raise ServerError(f"{self.address}{path} answers with something that is not JSON") from error

    def _event(self, path: str, data: str) -> dict[str, Any]:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ServerError(f"{self.address}{path} streams something that is not JSON") from error
        if not isinstance(event, dict):
            raise ServerError(f"{self.address}{path} streams something that is no JSON object")
        if event.get("error"):
            raise ServerError(f"{self.address} reports an error: {self._words(event)}", passing=True)
        return event

    def _no_stream(self, path: str, response: httpx2.Response) -> ServerError:
        answer = self._parsed(path, "".join(response.iter_text()), response.headers.get("content-type", ""))
        if isinstance(answer, dict) and answer.get("error"):
            return ServerError(f"{self.address} reports an error: {self._words(answer)}")
        return ServerError(f"{self.address}{path} does not stream its answer, which rounds are read from")

    def _refusal(self, path: str, response: httpx2.Response) -> ServerError:
        code = response.status_code
        with contextlib.suppress(ServerError, httpx2.HTTPError):
            try:
                words = self._words(json.loads("".join(response.iter_text())))
            except (ValueError, RecursionError):
                words = ""
            if words:
                return self._refused(code, f"{self.address}{path} answers {code}: {words}")
        words = f"{self.address}{path} answers {code} {self._shown(response.reason_phrase)}".rstrip()
        if response.has_redirect_location:
            words += f"; give the address that it points to: {self._shown(response.headers['location'])}"
        return self._refused(code, words)

    def _refused(self, code: int, words: str) -> ServerError:
        if code == 404:
            return NotFound(words, everywhere=True)
        if code in (401, 403):
            what = "it does not take the key that --api-key-env names" if self._key else _NO_KEY
            return ServerError(f"{words}; {what}", everywhere=True)
        return ServerError(words, passing=code in PASSING)

    def _words(self, answer: Any) -> str:
        """A server's own words on an error, in one line, without the key."""
        words = answer
        for key in ("error", "detail", "message"):
            if isinstance(words, dict) and key in words:
                words = words[key]
        if not isinstance(words, str):
            words = json.dumps(words)
        return self._shown(words)

    def _shown(self, words: str) -> str:
        """Words from the other side in one line, without the key."""
        return clean(words.replace(self._key, "***") if self._key else words, _SHOWN)

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Faults of the way to the server in one line."""
        try:
            yield
        except httpx2.ConnectTimeout as error:
            # Some servers without TLS wait for the rest of what they take for a request.
            hint = "; is it http:// rather than https://?" if self.address.startswith("https://") else ""
            raise ServerError(
                f"{self.address} does not answer within {self._bounds.connect_seconds:g} s{hint}",
                passing=True,
            ) from error
        except httpx2.TimeoutException as error:
            raise ServerError(
                f"{self.address} was silent for {self._bounds.silent_seconds:g} s", passing=True
            ) from error
        except httpx2.ProxyError as error:
            raise ServerError(f"the proxy to {self.address} refuses: {self._shown(str(error))}") from error
        except httpx2.ConnectError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, ssl.SSLError):
                cause = cause.__cause__ or cause.__context__
            if cause is not None or "ssl" in str(error).lower():
                words = self._shown(str(cause or error))
                raise ServerError(f"no TLS with {self.address}: {words}") from error
            raise ServerError(
                f"no server answers at {self.address} ({self._shown(str(error))}); is it running?",
                passing=True,
            ) from error
        except httpx2.SSEError as error:
            raise ServerError(f"{self.address}{path} streams an event without end") from error
        except (httpx2.StreamError, RuntimeError) as error:
            raise ServerError(f"the connection to {self.address} was closed", passing=True) from error
        except httpx2.HTTPError as error:
            words = self._shown(str(error)) or type(error).__name__
            raise ServerError(f"the answer of {self.address} broke off: {words}", passing=True) from error


class _Bounded(httpx2.SyncByteStream):
    """The bytes of an answer, within bounds of time and size."""

    def __init__(self, stream: httpx2.SyncByteStream, bounds: Bounds, address: str) -> None:
        self._stream, self._bounds, self._address = stream, bounds, address

    def __iter__(self) -> Iterator[bytes]:
        """The bytes as they come. Raises `ServerError` beyond a bound."""
        parts = iter(self._stream)
        waited, size = 0.0, 0  # the server's time alone: a run may be paused while its answer is read
        while True:
            asked = time.monotonic()
            data = next(parts, None)
            waited += time.monotonic() - asked
            if data is None:
                return
            size += len(data)
            if size > self._bounds.most_bytes:
                raise ServerError(
                    f"{self._address} answers with more than {self._bounds.most_bytes >> 20} MB"
                )
            if waited > self._bounds.whole_seconds:
                raise ServerError(
                    f"{self._address} has not come to an end after {self._bounds.whole_seconds:g} s",
                    passing=True,
                )
            yield data

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()


def read_key(name: str) -> str:
    """The key that an environment variable holds; "" without a name. Raises `UsageError` when it holds none."""
    if not name:
        return ""
    # The words do not repeat the name: some put the key itself there, and some keys could be names.
    if not names_variable(name):
        raise UsageError(f"--api-key-env: {NAMES_VARIABLE}")
    key = os.environ.get(name, "").strip()
    if not key:
        raise UsageError("--api-key-env names a variable that is not set; export it before the run")
    if not key.isascii() or not key.isprintable():
        raise UsageError("the key that --api-key-env names has characters that no header can carry")
    return key


@functools.cache
def _tls() -> ssl.SSLContext:
    """The certificates that are trusted, read once: there is a client for each prompt."""
    return httpx2.create_ssl_context()
