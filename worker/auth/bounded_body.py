"""Bodies of other people's servers, read no further than a bound."""

import aiohttp


async def read_bounded(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """The body; of one that is longer than `most_bytes`, a beginning that is longer, too."""
    # Piece by piece: `read(n)` returns what has come so far, and a long body comes in several packets.
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            break
    return bytes(body)
