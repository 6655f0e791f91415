"""Which processes there are, and whose children they are."""

import subprocess


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
