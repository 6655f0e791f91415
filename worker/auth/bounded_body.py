"""Reads HTTP bodies from servers that are not ours, up to a bound."""

import aiohttp


async def read_bounded(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """The body, cut off soon after `most_bytes`: callers refuse a result that is longer than that."""
    # Not `read(n)`, which returns early: a long body comes in several packets.
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            break
    return bytes(body)
