"""Frames on a pipe: the length in eight bytes, then so many bytes."""

from __future__ import annotations

import os
import struct

_LENGTH = struct.Struct("<Q")
_READ = 1 << 18


def framed(payload: bytes) -> bytes:
    """One frame."""
    return _LENGTH.pack(len(payload)) + payload


def write_frame(descriptor: int, payload: bytes) -> None:
    """Write one frame whole. Raises `OSError` when nobody reads any more."""
    data = memoryview(framed(payload))
    while data:
        data = data[os.write(descriptor, data) :]


class Frames:
    """Puts frames together from what a descriptor has."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def read(self, descriptor: int) -> tuple[list[bytes], bool]:
        """The frames that are whole, and whether the other end is closed; waits only where the descriptor blocks."""
        ended = False
        try:
            data = os.read(descriptor, _READ)
            ended = not data
            self._buffer += data
        except BlockingIOError:
            pass
        except OSError:
            ended = True
        frames = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
        return frames, ended
