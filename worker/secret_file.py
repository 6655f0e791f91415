"""Reads secrets from files. A file may be replaced at any time, so each connection reads it again."""

from pathlib import Path


class UnreadableSecret(OSError):
    """A file with a secret cannot be used. The text names the setting and the reason, but nothing secret."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.problem = problem


def read_secret(setting: str, path: str) -> str:
    """The text of a file, without the line breaks at its end. Raises `UnreadableSecret`."""
    try:
        text = Path(path).read_text("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UnreadableSecret(setting, "expected a file in UTF-8") from None  # the error holds the file's bytes
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UnreadableSecret(setting, f"expected a file that can be read, got: {reason}") from error
    if not text:
        raise UnreadableSecret(setting, "expected a file with a secret in it, got an empty one")
    return text
