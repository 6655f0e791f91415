"""A stop while name look-ups hang: no thread that waits for DNS holds the process up."""

import asyncio
from pathlib import Path

import pytest

from tests.workbench import Workbench, until

_HANGS = """
import socket, sys, time

def hang(*arguments, **options):
    print("looks up a name", file=sys.stderr, flush=True)
    time.sleep(60)
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

socket.getaddrinfo = hang
sys.modules["uvloop"] = None  # it asks the C library, past this
"""


@pytest.mark.parametrize("setting", ["PASSPORT_DATABASE_URL", "PASSPORT_KAFKA_BOOTSTRAP_SERVERS"])
async def test_a_stop_while_names_are_looked_up(bench: Workbench, tmp_path: Path, setting: str) -> None:
    """SIGTERM ends it with 0 within ten seconds, whichever server's name is asked for.

    Seen to fail without `os._exit`: asyncio waited for its threads, here for a minute.
    """
    (tmp_path / "sitecustomize.py").write_text(_HANGS)
    log = tmp_path / "worker.log"
    named = {
        "PASSPORT_DATABASE_URL": "postgresql://db.example.com/x",
        "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "kafka.example.com:9092",
    }
    worker = bench.start_worker(log, PYTHONPATH=str(tmp_path), **{setting: named[setting]})
    await until(lambda: log.exists() and "looks up a name" in log.read_text(), 30, "it looks up a name")
    await asyncio.sleep(1)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    assert '"event": "stopped"' in log.read_text()
