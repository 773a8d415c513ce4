"""Recognition of a server by cheap questions: its kind, version, models, and the way in which it drafts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from spectui.decoding.errors import UsageError
from spectui.servers.client import Client
from spectui.servers.errors import ServerError
from spectui.servers.metrics import PageError, read_page
from spectui.servers.words import clean

Kind = Literal["llama.cpp", "vLLM", "SGLang", "other"]
LLAMA: Kind = "llama.cpp"
VLLM: Kind = "vLLM"
SGLANG: Kind = "SGLang"
OTHER: Kind = "other"
OWNERS: dict[str, Kind] = {"llamacpp": LLAMA, "vllm": VLLM, "sglang": SGLANG}
"""``owned_by`` of a model in ``/v1/models`` -> kind."""
NONE = "none"
"""The method of a server that says that it does not draft."""
_SHOWN_MODELS = 5


@dataclass(frozen=True)
class Recognised:
    """A server that answers, as far as it says what it is."""

    kind: Kind
    version: str
    models: tuple[str, ...]
    """Names in ``/v1/models``, in its order."""
    method: str
    """The way in which it drafts, such as "draft-simple"; "" where it does not say."""

    def changes(self, version: str, method: str) -> list[str]:
        """Words for each fact that is known of then and of now, and not as it was."""
        facts = (("its version", version, self.version), ("its way to draft", method, self.method))
        return [
            f"{what} is '{now}', not '{before}'"
            for what, before, now in facts
            if before and now and before != now
        ]


def recognise(client: Client) -> Recognised:
    """Ask a server what it is. Raises `ServerError` where nothing answers, or no API of models."""
    listing = client.json("/v1/models")
    entries = listing.get("data") if isinstance(listing, dict) else None
    if not isinstance(entries, list):
        raise ServerError(
            f"{client.address}/v1/models is not the list of models of an OpenAI-compatible server"
        )
    rows = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    models = tuple(str(row["id"]) for row in rows)
    kind = next(
        (OWNERS[owner] for row in rows if (owner := str(row.get("owned_by")).lower()) in OWNERS), None
    )
    if kind is None:
        kind = _kind_by_routes(client)
    version, method = _FACTS[kind](client)
    return Recognised(kind, clean(version, 60), models, clean(method, 60))


def choose_model(server: Recognised, name: str, address: str) -> str:
    """The model that `name` asks for, or the only one there is. Raises `UsageError`."""
    shown = ", ".join(clean(model, 80) for model in server.models[:_SHOWN_MODELS])
    if name:
        if server.models and name not in server.models:
            raise UsageError(f"--model is '{clean(name, 80)}', and {address} serves: {shown}")
        return name
    if len(server.models) == 1:
        return server.models[0]
    if not server.models:
        raise UsageError(f"{address} names no model; name it with --model")
    raise UsageError(f"{address} serves several models; choose one with --model: {shown}")


def asked_method(client: Client, server: Recognised, model: str) -> str:
    """The way in which a server drafts; of llama.cpp, which tells it of requests alone, after a question of one token.

    "" where it does not say. Raises `ServerError`.
    """
    if server.kind != LLAMA or server.method:
        return server.method
    question = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    client.post("/v1/chat/completions", question)
    return recognise(client).method


def speculates(client: Client, server: Recognised) -> bool:
    """True for a server that says, by its method or its counters, that it drafts."""
    if server.method:
        return server.method.lower() != NONE
    try:
        drafts = read_page(client.text("/metrics"), time.time()).drafts
    except (ServerError, PageError):
        return False
    # vLLM has these counters where it speculates alone.
    return drafts is not None and (server.kind == VLLM or drafts > 0)


def answer_or_none(client: Client, path: str) -> Any:
    """The JSON answer to a GET; None where the server has nothing of that kind."""
    try:
        return client.json(path)
    except ServerError:
        return None


def _kind_by_routes(client: Client) -> Kind:
    props = answer_or_none(client, "/props")
    if isinstance(props, dict) and "total_slots" in props:
        return LLAMA
    info = answer_or_none(client, "/server_info") or answer_or_none(client, "/get_server_info")
    if isinstance(info, dict) and "speculative_algorithm" in info:
        return SGLANG
    return OTHER


def _llama_facts(client: Client) -> tuple[str, str]:
    props = answer_or_none(client, "/props")
    version = str(props.get("build_info", "")) if isinstance(props, dict) else ""
    # `/props` always says "none", and a slot says it of a request that it had.
    slots = answer_or_none(client, "/slots")
    methods = ""
    for slot in slots if isinstance(slots, list) else ():
        params = slot.get("params") if isinstance(slot, dict) else None
        if isinstance(params, dict) and isinstance(params.get("speculative.types"), str):
            methods = methods or params["speculative.types"]
    return version, methods


def _vllm_facts(client: Client) -> tuple[str, str]:
    answer = answer_or_none(client, "/version")
    return (str(answer.get("version", "")) if isinstance(answer, dict) else ""), ""


def _sglang_facts(client: Client) -> tuple[str, str]:
    info = answer_or_none(client, "/server_info") or answer_or_none(client, "/get_server_info")
    if not isinstance(info, dict):
        return "", ""
    return str(info.get("version", "")), str(info.get("speculative_algorithm") or NONE)


_FACTS: dict[Kind, Callable[[Client], tuple[str, str]]] = {
    LLAMA: _llama_facts,
    VLLM: _vllm_facts,
    SGLANG: _sglang_facts,
    OTHER: lambda _client: ("", ""),
}
