"""`python -m tests.picture` takes README's picture: the console of README's own command, five minutes later.

The picture notes the command and the headings that it shows, so that a test can tell when it has grown old.
"""

import asyncio
import re
import shlex
import signal
import struct
import sys
import zlib
from collections.abc import Iterator

from tests.infrastructure.browser import SIZES, chromium
from tests.workbench import REPOSITORY

PICTURE = REPOSITORY / "deploy" / "console.png"
_LATER_SECONDS = 300.0
_SIGNATURE_BYTES = 8
_NOTE = b"passport-worker\0"


def readme_command() -> str:
    """The command that README shows above the picture."""
    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"passport-worker (demo.*)$", page, re.MULTILINE)
    return str(command)


def note_of(command: str, html: str) -> str:
    """What a picture of this page notes."""
    headings = (re.sub(r"<[^>]+>", "", heading) for heading in re.findall(r"<h2[^>]*>(.*?)</h2>", html, re.DOTALL))
    return "\n".join((command, *(" ".join(heading.split()) for heading in headings)))


def noted() -> str:
    """What README's picture notes."""
    (note,) = (body.removeprefix(_NOTE) for kind, body in _chunks(PICTURE.read_bytes()) if kind == b"tEXt")
    return note.decode()


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = _SIGNATURE_BYTES
    while position < len(png):
        (length,) = struct.unpack_from(">I", png, position)
        yield png[position + 4 : position + 8], png[position + 8 : position + 8 + length]
        position += length + 12


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


async def _take(command: str) -> None:
    arguments = (sys.executable, "-m", "worker", *shlex.split(command), "--no-live")
    demo = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    assert demo.stdout is not None
    printed = ""
    while "until Ctrl-C" not in printed:
        line = await demo.stdout.readline()
        assert line, printed
        printed += line.decode()
    (url,) = re.findall(r"^Look at it while it runs: (\S+)$", printed, re.MULTILINE)
    await asyncio.sleep(_LATER_SECONDS)
    async with chromium() as browser:
        page = await browser.new_page(viewport={"width": 1280, "height": SIZES[1280]})
        await page.goto(url)
        note, png = note_of(command, await page.content()), await page.screenshot()
    kept = [(kind, body) for kind, body in _chunks(png) if kind != b"tEXt"]
    kept.insert(1, (b"tEXt", _NOTE + note.encode("latin-1")))
    PICTURE.write_bytes(png[:_SIGNATURE_BYTES] + b"".join(_chunk(*chunk) for chunk in kept))
    demo.send_signal(signal.SIGINT)
    assert await demo.wait() == 0


if __name__ == "__main__":
    asyncio.run(_take(readme_command()))
