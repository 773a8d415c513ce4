"""Protects: an address that cannot be one is refused in a line that says what to write."""

from __future__ import annotations

import pytest

from spectui.decoding.errors import UsageError
from spectui.servers.address import is_local, key_for, read_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("https://models.example/team/v1", "https://models.example/team"),
        ("http://[::1]:30000/v1/chat/completions", "http://[::1]:30000"),
        ("http://gpu7:8000/metrics", "http://gpu7:8000"),
    ],
)
def test_addresses_are_brought_to_one_form(text: str, address: str) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", " ", "ftp://host", "http://", "http://a b", "http://host:99999999", "http://host/?x=1", "http://h\x1b[2J",
     "http://user:secret@host", "http://token@host", "file:///etc/passwd", "http://[::1"],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_one_printable_line(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read_address(text)
    message = str(refusal.value)
    assert message.isprintable()
    assert "--server" in message
    assert "secret" not in message


def test_no_proxy_leads_to_this_machine() -> None:
    assert is_local("http://127.0.0.1:8000")
    assert is_local("http://[::1]:8000")
    assert not is_local("http://gpu7:8000")


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ("http://gpu7:9000", "KEY"),
        ("http://gpu8:8000", ""),
        ("https://gpu7:8000", ""),
        ("http://gpu7.evil.example:8000", ""),
    ],
)
def test_a_key_is_for_the_host_that_it_was_given_for(other: str, key: str) -> None:
    assert key_for(other, "http://gpu7:8000", "KEY") == key
