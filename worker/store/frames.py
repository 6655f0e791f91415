"""Created events as passports keep them: the text that a product's passports share once, and what is a passport's own.

A frame is a created event's value with a hole for each value of its own; the table `passport_frame` says which.
"""

import re
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from json import JSONDecoder
from operator import itemgetter
from typing import NamedTuple

import asyncpg

from worker.domain.cache import Cache
from worker.domain.catalogue import Product
from worker.domain.outcomes import Created
from worker.domain.timestamps import format_ms
from worker.store import sql
from worker.store.port import StoreUnavailable

_HOLES = bytes(range(1, 7))
_NO_HOLES = bytes(set(range(256)) - {*_HOLES})
_ID, _GTIN, _SERIAL, _TIME, _GS1, _REST = (bytes([hole]) for hole in _HOLES)
_PLAIN = re.compile(rb"[0-9A-Za-z._~-]+")
"""A serial number that is the same in JSON and in a URI."""
_BEHIND_GTIN, _BEHIND_GS1, _FIELDS = b'"gs1":{"gtin":"', b'},"status":', b'"fields":'
_BEFORE_TIME, _END = b'"createdAt":"', b'"}'

_object_end = JSONDecoder().raw_decode


class Own(NamedTuple):
    """What the row of a passport says of its created event."""

    id: bytes
    gtin: bytes
    serial: bytes
    time: bytes
    gs1: bytes = b""
    rest: bytes = b""


class Frame:
    """A text with holes. `id` is what passports know it by."""

    def __init__(self, text: bytes) -> None:
        self.id = sha256(text).digest()[:16]
        self.text = text
        holes = [hole - 1 for hole in _holes_in(text)]
        self._format = text.replace(b"%", b"%%")
        for hole in _HOLES:
            self._format = self._format.replace(bytes([hole]), b"%b")
        self._in_order: Callable[[Own], object] = itemgetter(*holes) if holes else lambda _: ()
        self._has_gs1 = _GS1 in text

    def filled(self, own: Own) -> bytes:
        """The value of the created event."""
        value: bytes = self._format % self._in_order(own)
        return value

    def own_of(self, body: bytes, own: Own) -> Own | None:
        """The same with `gs1` and `rest` as a body has them; None where it is not this frame's.

        A body is one frame's alone, whatever was met before: a recovered database holds the same as an undamaged one.
        """
        if self._has_gs1:
            if _PLAIN.fullmatch(own.serial):
                return None
            own = own._replace(gs1=_gs1_of(body, own.gtin) or b"")
        filled = self.filled(own)
        rest = len(body) - len(filled)
        if rest > 0:
            end = len(body) - len(_BEFORE_TIME) - len(own.time) - len(_END)
            own = own._replace(rest=body[end - rest : end])
            filled = self.filled(own)
        return own if filled == body else None


def taken_apart(body: bytes, own: Own, fields_size: int | None = None) -> Frame:
    """The frame of a created event; one without holes where the text is not what a worker writes.

    `fields_size` is the length of the fields, where it is known. Raises `ValueError` for a text that holds control
    characters.
    """
    if _holes_in(body):
        raise ValueError("a created event holds control characters")
    start, behind_gtin = b'{"_id":"' + own.id + b'"', _BEHIND_GTIN + own.gtin
    gs1, fields = _gs1_of(body, own.gtin), body.find(_FIELDS)
    end = _BEFORE_TIME + own.time + _END
    is_ours = body.isascii() and body.startswith(start) and body.endswith(end)
    if gs1 is None or fields < 0 or not is_ours:
        return Frame(body)
    at = body.index(behind_gtin) + len(behind_gtin)
    if fields_size is None:
        _, behind_fields = _object_end(body.decode("ascii"), fields + len(_FIELDS))
    else:
        behind_fields = fields + len(_FIELDS) + fields_size
    if _PLAIN.fullmatch(own.serial):
        shared = gs1.replace(b'":"%b"' % own.serial, b'":"%b"' % _SERIAL)
        path, holes = b'/01/%b/21/%b"' % (own.gtin, own.serial), b'/01/%b/21/%b"' % (_GTIN, _SERIAL)
        shared = shared.replace(path, holes)
    else:
        shared = _GS1
    before = start.replace(own.id, _ID) + body[len(start) : at - len(own.gtin)] + _GTIN
    behind = body[at + len(gs1) : behind_fields + 1]
    return Frame(before + shared + behind + _REST + _BEFORE_TIME + _TIME + _END)


def _holes_in(text: bytes) -> bytes:
    """In their order; a regular expression takes ten times as long."""
    return text.translate(None, _NO_HOLES)


def _gs1_of(body: bytes, gtin: bytes) -> bytes | None:
    """What stands behind the GTIN, to the end of its object."""
    start = body.find(_BEHIND_GTIN)
    end = body.find(_BEHIND_GS1, start)
    return body[start + len(_BEHIND_GTIN) + len(gtin) : end] if 0 <= start < end else None


def own_of(one: Created) -> Own:
    """What a passport says of itself, without what its text alone can tell."""
    return own_values(one.passport_id, one.gtin, one.serial, one.created_ms)


def own_values(passport_id: str, gtin: str, serial: str, created_ms: int) -> Own:
    """Likewise."""
    return Own(passport_id.encode(), gtin.encode(), serial.encode(), format_ms(created_ms).encode("ascii"))


def created_body_of(passport_id: str, row: asyncpg.Record, frames: Mapping[bytes, Frame]) -> bytes:
    """From those columns of a row of `answers.sql` or `bindings.sql` that its passport has."""
    own = own_values(passport_id, row["gtin"], row["serial"], row["created_ms"])
    if row["gs1"] is not None or row["rest"] is not None:
        own = own._replace(gs1=(row["gs1"] or "").encode("ascii"), rest=(row["rest"] or "").encode("ascii"))
    return frames[row["frame_id"]].filled(own)


class Frames:
    """Those that were met lately, within bounds of memory; what they say never changes."""

    def __init__(self) -> None:
        self._by_product: Cache[Frame] = Cache(8 * 1024 * 1024)
        self._by_id: Cache[Frame] = Cache(8 * 1024 * 1024)

    def take_apart(self, product: Product, body: bytes, own: Own) -> tuple[Frame, Own]:
        """A created event as frame and own values, which give just this text again. Raises `ValueError`."""
        key = (product.id,)
        last = self._by_product.get(key)
        if last is not None and (found := last.own_of(body, own)) is not None:
            return last, found
        frame = taken_apart(body, own, len(product.seeded.json) or None)
        found = frame.own_of(body, own)
        if found is None:
            frame = Frame(body)
            found = own
        self._by_product.put(key, frame, 2 * len(frame.text))
        return frame, found

    async def load(self, connection: sql.Connection, ids: Collection[bytes]) -> Mapping[bytes, Frame]:
        """All of these, by id. Raises `StoreUnavailable` where the database has lost one."""
        found = {one: frame for one in ids if (frame := self._by_id.get((one,))) is not None}
        if missing := [one for one in ids if one not in found]:
            for _, text in await connection.fetch(sql.load("frames"), missing):
                frame = Frame(text.encode())
                found[frame.id] = frame
                self._by_id.put((frame.id,), frame, 2 * len(frame.text))
            if lost := [one for one in missing if one not in found]:
                raise StoreUnavailable(f"the database lacks what passports share: passport_frame {lost[0].hex()}")
        return found
