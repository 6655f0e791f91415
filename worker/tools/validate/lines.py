"""Lines of a file of any size: no more of one is held than it may have."""

from collections.abc import Iterator
from typing import BinaryIO

BOM = b"\xef\xbb\xbf"
_CHUNK_BYTES = 64 * 1024


def bounded_lines(stream: BinaryIO, longest: int) -> Iterator[bytes]:
    """Each with its end; one over the limit is cut behind its first byte too many."""
    while text := stream.readline(longest + 2):  # the end of a line may be CR LF
        yield text
        while not text.endswith(b"\n") and text:
            text = stream.readline(_CHUNK_BYTES)


def without_end(line: bytes) -> bytes:
    """Without CR LF or LF."""
    return line.removesuffix(b"\n").removesuffix(b"\r")
