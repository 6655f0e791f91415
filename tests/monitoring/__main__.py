"""`python -m tests.monitoring`: write what is made for `deploy/monitoring/`."""

from tests.monitoring.made import MADE
from tests.monitoring.rules import MONITORING

for name, make in MADE.items():
    (MONITORING / name).write_text(make(), encoding="utf-8")
