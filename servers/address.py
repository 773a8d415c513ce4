"""Addresses of servers: checked, brought to one form, and shown without what is secret."""

from __future__ import annotations

import httpx2

from spectui.decoding.errors import UsageError

EXAMPLE = "http://127.0.0.1:8000"
ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/v1", "/metrics", "/health")
"""Ends of an address that people copy from elsewhere; the address of the server is what stands before."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def read_address(text: str, option: str = "--server") -> str:
    """The address of a server without a slash at its end, without a route. Raises `UsageError` for anything else."""
    words = text.strip()
    shown = words[:80] if words.isprintable() else repr(words[:80])
    try:
        url = httpx2.URL(words if "://" in words else f"http://{words}")
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        raise UsageError(f"{option} is '{shown}', which is no URL; write it as {EXAMPLE}") from error
    if url.userinfo:
        raise UsageError(
            f"{option} holds a user or a password; leave it out, and name the variable that has the key:"
            " --api-key-env NAME"
        )
    if url.scheme not in ("http", "https") or not url.host or not words or (url.port or 0) > 65535:
        raise UsageError(f"{option} is '{shown}'; write it as {EXAMPLE} or https://HOST")
    if url.query or url.fragment:
        raise UsageError(f"{option} is '{shown}'; leave out what follows the '?' or '#'")
    if not words.isprintable() or any(c.isspace() for c in words):
        raise UsageError(f"{option} is '{shown}', which is no URL; write it as {EXAMPLE}")
    address = str(url).rstrip("/")
    for route in ROUTES:
        address = address.removesuffix(route)
    return address


def key_for(address: str, first: str, key_env: str) -> str:
    """`key_env` for an address on the host of `first`, the server it was given for; "" for another host's."""
    one, other = httpx2.URL(address), httpx2.URL(first)
    return key_env if (one.scheme, one.host) == (other.scheme, other.host) else ""


def is_local(address: str) -> bool:
    """True for an address on this machine, to which no proxy leads."""
    return httpx2.URL(address).host in LOOPBACK
