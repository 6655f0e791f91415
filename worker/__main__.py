"""`python -m worker` is `passport-worker`."""

from worker.cli import main

main()
