"""Which processes there are, and whose children they are."""

import subprocess
from pathlib import Path


def parents() -> dict[int, int]:
    """Parents of all processes, by process id; of those alone that have not ended."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def descendants(ancestor: int) -> set[int]:
    """Children of a process, and theirs."""
    of = parents()
    found: set[int] = set()
    while more := {pid for pid, parent in of.items() if parent in {ancestor, *found}} - found:
        found |= more
    return found


def is_stopped(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a child of ours stands still after SIGSTOP."""
    return Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
