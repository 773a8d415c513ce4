"""The exceptions that `decoding` raises for things its user can put right."""


class DecodingError(Exception):
    """What is wrong and what to do about it, in one line that is fit to be shown as it is."""


class UsageError(DecodingError):
    """A `DecodingError` in what was asked for (exit code 2), rather than in the doing of it (1)."""


def one_line(error: BaseException) -> str:
    """An error in one line: its message, behind the name of its type unless it is a `DecodingError`."""
    if isinstance(error, DecodingError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
