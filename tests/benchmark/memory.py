"""Memory and CPU of a process, as Linux counts them."""

import os
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
