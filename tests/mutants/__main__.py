"""`python -m tests.mutants [WORD…]`: whether tests see each fault whose name contains a word; all, if none is given.

Each fault is applied to a copy of the tree, where the tests run that the fault names. Exit 1 where tests miss a fault,
or where a fault does not fit the code any more. Servers are started once, and only if some test needs them. A test that
hangs fails by the time that pytest gives it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from tests.infrastructure.choose import infrastructure
from tests.mutants.fault import Fault, Stale
from tests.mutants.faults import FAULTS
from tests.workbench import REPOSITORY

COPIED = ("worker", "tests", "schemas", "deploy", "pyproject.toml", "README.md", "CONTRIBUTING.md", ".ci")
WITHOUT_SERVERS = ("tests/unit/", "tests/model/")
AT_ONCE = 2


def main() -> None:
    """Print a line a fault."""
    words = sys.argv[1:]
    faults = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    if not faults:  # pytest without arguments would run all tests
        sys.exit(f"expected a part of a fault's name, got {' '.join(words)}")
    began, wrong = time.monotonic(), []
    with _servers(faults) as environment, tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_ONCE):
            trees.put(_copy(Path(folder, str(number))))
        if failed := _fail_anyway(trees.get(), faults, environment):
            sys.exit(f"tests fail without any fault:\n{failed}")
        trees.put(Path(folder, "0"))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for fault, verdict in threads.map(lambda fault: (fault, _try(fault, trees, environment)), faults):
                print(f"{fault.name}: {verdict}", flush=True)
                wrong += [fault.name] if not verdict.startswith("seen") else []
    print(f"{len(faults) - len(wrong)} of {len(faults)} seen in {time.monotonic() - began:.0f} s")
    sys.exit(1 if wrong else 0)


@contextmanager
def _servers(faults: Sequence[Fault]) -> Iterator[dict[str, str]]:
    """The environment of pytest; it names servers where some test needs them."""
    if all(test.startswith(WITHOUT_SERVERS) for fault in faults for test in fault.tests):
        yield dict(os.environ)
        return
    with infrastructure() as servers:
        yield {
            **os.environ,
            "PASSPORT_TEST_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "PASSPORT_TEST_DATABASE_URL": servers.database_url,
        }


def _copy(tree: Path) -> Path:
    tree.mkdir()
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    return tree


def _try(fault: Fault, trees: "SimpleQueue[Path]", environment: dict[str, str]) -> str:
    tree = trees.get()
    try:
        faulty, path = fault.applied(tree), tree / fault.file
        whole = path.read_text(encoding="utf-8")
        _write(path, faulty)
        try:
            code, output = _pytest(tree, fault.tests, environment)
        finally:
            _write(path, whole)
    except Stale as stale:
        return f"STALE: {stale}"
    finally:
        trees.put(tree)
    failed = next((line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
    if code == 1:
        return f"seen by {failed.split(' - ')[0].removeprefix('FAILED ').removeprefix('ERROR ')}"
    return "NOT SEEN" if code == 0 else f"pytest ended with {code}: {output[-500:]}"


_times = count(int(time.time()) - 1_000_000)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    # Python compares the seconds of a file's time, and its size, with those of what it has compiled.
    os.utime(path, (when := next(_times), when))


def _fail_anyway(tree: Path, faults: Sequence[Fault], environment: dict[str, str]) -> str:
    """What fails in a tree without a fault: it would seem to see all of them."""
    code, output = _pytest(tree, sorted({test for fault in faults for test in fault.tests}), environment)
    return "" if code == 0 else output[-3000:]


def _pytest(tree: Path, tests: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "--tb=native", "-p", "no:cacheprovider", *tests]
    # What has not changed since the fault before is compiled once.
    own = {**environment, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(command, cwd=tree, env=own, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    main()
