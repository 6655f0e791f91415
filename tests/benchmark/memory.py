"""Memory and CPU of a process, as Linux counts them."""

import os
import time
from collections.abc import Sequence
from pathlib import Path


def resident_megabytes(pid: int) -> float:
    """Resident set of a process, in MB of 10^6 bytes."""
    return _status_megabytes(pid, "VmRSS:")


def peak_megabytes(pid: int) -> float:
    """The largest resident set that a process ever had, in MB of 10^6 bytes."""
    return _status_megabytes(pid, "VmHWM:")


def _status_megabytes(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kibibytes = next(int(line.split()[1]) for line in lines if line.startswith(name))
    return kibibytes * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class CpuWatch:
    """CPU that some processes use together from now on."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._began, self._used = time.monotonic(), self._sum()

    def _sum(self) -> float:
        return sum(map(cpu_seconds, self._pids))

    def seconds(self) -> float:
        """Used until now."""
        return self._sum() - self._used

    def cores(self) -> float:
        """Kept busy until now, on average."""
        return self.seconds() / (time.monotonic() - self._began)
