"""The exceptions that `decoding` raises for things its user can put right."""


class DecodingError(Exception):
    """An error that decoding expects; its text is one line that says what is wrong and what to do."""


class UsageError(DecodingError):
    """A `DecodingError` in what was asked for (exit code 2), rather than in the doing of it (1)."""


def explain_model_error(folder: object, error: Exception, problem: str) -> str:
    """One line on an error of transformers with the model in `folder`: `problem` and the error's words."""
    words = " ".join(str(error).split())
    if "trust_remote_code" in words:
        return (
            f"model '{folder}' comes with code of its own, which spectui does not run; choose another model"
        )
    return f"{problem}: {words[:300]}"


def one_line(error: BaseException) -> str:
    """An error in one line: its message, behind the name of its type unless it is a `DecodingError`."""
    if isinstance(error, DecodingError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
