"""Guesses the encoding of a spreadsheet from its bytes."""

import codecs

from worker.tools.submit.table import BadFile

UTF8 = "utf-8"
_EXCEL = ("cp1252", "cp850", "mac_roman")
"""Encodings in which Excel writes plain CSV, CSV (MS-DOS) and CSV (Macintosh) in western Europe."""
_LETTERS = frozenset("ÄÖÜäöüßÀÁÂÅÆÇÈÉÊËÍÎÏÑÓÔØÚÛàáâåæçèéêëíîïñóôøœùúû€°²³µ§®")
"""Characters in names of people, companies and goods. A wrong encoding yields others."""
_ASCII = bytes(range(128))


def encoding_of(name: str) -> str:
    """Python's name of an encoding. Raises `BadFile` for one that does not contain ASCII."""
    try:
        if _ASCII.decode(name) == _ASCII.decode("ascii"):
            return codecs.lookup(name).name.removesuffix("-sig")
    except (LookupError, ValueError):
        pass
    raise BadFile(f"--encoding: expected utf-8, cp1252 or another encoding that contains ASCII, got {name!r}")


def is_single_byte(encoding: str) -> bool:
    """Whether each byte is a character. Such an encoding decodes UTF-8 without an error, but wrongly."""
    return len(bytes(range(256)).decode(encoding, "replace")) == 256


def likely_encoding(data: bytes) -> str:
    """The encoding in which bytes that are not UTF-8 were probably written by a spreadsheet."""

    def letters(encoding: str) -> int:
        return sum(character in _LETTERS for character in data.decode(encoding, "replace"))

    # `max` takes the first of equals: cp1252, in which Excel writes plain CSV.
    return max(_EXCEL, key=letters)


def guessed_encoding(data: bytes) -> str:
    """The encoding of the beginning of a file, which may end within a character."""
    try:
        codecs.getincrementaldecoder(UTF8)().decode(data)
    except UnicodeDecodeError:
        return likely_encoding(data)
    return UTF8
