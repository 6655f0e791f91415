"""Created events as the database stores them: a frame that the passports of a product share, and each one's values.

A frame is the value of a created event with a hole for each value that differs between passports. Migration 0001 lists
the holes, at the table `passport_frame`.
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
from worker.domain.gs1 import UNRESERVED
from worker.domain.outcomes import Created
from worker.domain.timestamps import format_ms
from worker.store import sql
from worker.store.port import StoreUnavailable

_HOLES = bytes(range(1, 7))
_NO_HOLES = bytes(set(range(256)) - {*_HOLES})
_ID, _GTIN, _SERIAL, _TIME, _GS1, _REST = (bytes([hole]) for hole in _HOLES)
# A serial number that looks the same in JSON and in a URI.
_PLAIN = re.compile(UNRESERVED.encode())
_BEHIND_GTIN, _BEHIND_GS1, _FIELDS = b'"gs1":{"gtin":"', b'},"status":', b'"fields":'
_BEFORE_TIME, _END = b'"createdAt":"', b'"}'

_object_end = JSONDecoder().raw_decode


class Own(NamedTuple):
    """A passport's own values in its created event, in the order of the holes."""

    id: bytes
    gtin: bytes
    serial: bytes
    time: bytes
    gs1: bytes = b""
    rest: bytes = b""


class Frame:
    """A text with holes. Passports know it by its `id`."""

    def __init__(self, text: bytes) -> None:
        self.id = sha256(text).digest()[:16]
        self.text = text
        holes = [hole - 1 for hole in _holes_in(text)]
        # Formatting with % fills all holes in one pass in C.
        self._format = text.replace(b"%", b"%%")
        for hole in _HOLES:
            self._format = self._format.replace(bytes([hole]), b"%b")
        self._in_order: Callable[[Own], object] = itemgetter(*holes) if holes else lambda _: ()
        self._has_gs1 = _GS1 in text

    def filled(self, own: Own) -> bytes:
        """The value of the created event."""
        value: bytes = self._format % self._in_order(own)
        return value

    def values_in(self, body: bytes, own: Own) -> Own | None:
        """`own` with the `gs1` and `rest` of a created event; None if the event does not have this frame."""
        if self._has_gs1:
            # A plain serial number has another frame. The frame of an event must not depend on the frames that the
            # worker met before: a recovered database has to hold the same rows as an undamaged one.
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


def frame_of(body: bytes, own: Own, fields_size: int | None = None) -> Frame:
    """The frame of a created event; one without holes if the text does not look like the worker's.

    `fields_size` is the length of the fields, if it is known. Raises `ValueError` for a text with control characters.
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
    shared = _GS1
    if _PLAIN.fullmatch(own.serial):
        path, holes = b'/01/%b/21/%b"' % (own.gtin, own.serial), b'/01/%b/21/%b"' % (_GTIN, _SERIAL)
        shared = gs1.replace(b'":"%b"' % own.serial, b'":"%b"' % _SERIAL).replace(path, holes)
    before = start.replace(own.id, _ID) + body[len(start) : at - len(own.gtin)] + _GTIN
    behind = body[at + len(gs1) : behind_fields + 1]
    return Frame(before + shared + behind + _REST + _BEFORE_TIME + _TIME + _END)


def _holes_in(text: bytes) -> bytes:
    # A regular expression takes ten times as long.
    return text.translate(None, _NO_HOLES)


def _gs1_of(body: bytes, gtin: bytes) -> bytes | None:
    """The text from after the GTIN to the end of the object `gs1`."""
    start = body.find(_BEHIND_GTIN)
    end = body.find(_BEHIND_GS1, start)
    return body[start + len(_BEHIND_GTIN) + len(gtin) : end] if 0 <= start < end else None


def own_of(created: Created) -> Own:
    """The values of a passport that are known without the text of its event."""
    return own_values(created.passport_id, created.gtin, created.serial, created.created_ms)


def own_values(passport_id: str, gtin: str, serial: str, created_ms: int) -> Own:
    """Encode these values; `gs1` and `rest` stay empty."""
    return Own(passport_id.encode(), gtin.encode(), serial.encode(), format_ms(created_ms).encode("ascii"))


def created_body_of(passport_id: str, row: asyncpg.Record, frames: Mapping[bytes, Frame]) -> bytes:
    """The created event, from a row of `answers.sql` or `bindings.sql` and the frames.

    Raises `StoreUnavailable` if the database has lost the passport.
    """
    if row["gtin"] is None:
        raise StoreUnavailable(f"the database lacks the passport {passport_id}, whose event is an answer")
    own = own_values(passport_id, row["gtin"], row["serial"], row["created_ms"])
    if row["gs1"] is not None or row["rest"] is not None:
        own = own._replace(gs1=(row["gs1"] or "").encode("ascii"), rest=(row["rest"] or "").encode("ascii"))
    return frames[row["frame_id"]].filled(own)


class Frames:
    """The frames that the worker used lately, within a bound of memory. A frame never changes."""

    def __init__(self) -> None:
        self._by_product: Cache[Frame] = Cache(8 * 1024 * 1024)
        self._by_id: Cache[Frame] = Cache(8 * 1024 * 1024)

    def take_apart(self, product: Product, body: bytes, own: Own) -> tuple[Frame, Own]:
        """A frame and own values that give exactly this created event. Raises `ValueError`."""
        key = (product.id,)
        last = self._by_product.get(key)
        if last is not None and (values := last.values_in(body, own)) is not None:
            return last, values
        frame = frame_of(body, own, len(product.seeded.json) or None)
        values = frame.values_in(body, own)
        if values is None:  # the frame does not give the event back byte for byte: keep the event whole
            frame, values = Frame(body), own
        self._by_product.put(key, frame, 2 * len(frame.text))
        return frame, values

    async def load(self, connection: sql.Connection, ids: Collection[bytes]) -> Mapping[bytes, Frame]:
        """All of these frames, by id. Raises `StoreUnavailable` if the database has lost one."""
        frames = {id: frame for id in ids if (frame := self._by_id.get((id,))) is not None}
        if missing := [id for id in ids if id not in frames]:
            for _, text in await connection.fetch(sql.load("frames"), missing):
                frame = Frame(text.encode())
                frames[frame.id] = frame
                self._by_id.put((frame.id,), frame, 2 * len(frame.text))
            if lost := [id for id in missing if id not in frames]:
                raise StoreUnavailable(f"the database lacks what passports share: passport_frame {lost[0].hex()}")
        return frames
