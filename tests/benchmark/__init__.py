"""The benchmark: floors, peer and worker side by side in one run. `python -m tests.benchmark --help`."""
