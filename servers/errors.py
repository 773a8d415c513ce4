"""The exceptions that `servers` raises."""

from __future__ import annotations

from spectui.decoding.errors import DecodingError


class ServerError(DecodingError):
    """A fault of a server, or of the way to it, in one line."""

    def __init__(self, message: str, *, passing: bool = False, everywhere: bool = False) -> None:
        super().__init__(message)
        self.everywhere = everywhere
        """True where any other prompt would meet it, too."""
        self.passing = passing
        """True where asking again may help: it was busy, slow, or gone for a moment."""


class NotFound(ServerError):  # noqa: N818 - nothing need be wrong
    """The server has no such route."""
