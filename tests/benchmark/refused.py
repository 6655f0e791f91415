"""Commands that the worker refuses: those that mean no harm, and those that could hold up other companies."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from tests.benchmark.commands import BenchCommand
from tests.benchmark.hostile import KINDS
from worker.messages.body import PARTY_CHECKS, ROLES

_WRONG = {field: "ftp://example" if field == "url" else "" for field in PARTY_CHECKS}
_FORTY = dict.fromkeys(ROLES, _WRONG) | {f"role {number}": {} for number in range(6)}


def _with_body(**members: object) -> Callable[[BenchCommand], BenchCommand]:
    return lambda one: replace(one, value=json.dumps(json.loads(one.value) | members).encode())


def _unknown_key(one: BenchCommand) -> BenchCommand:
    return replace(one, headers=[("authorization", b"Bearer tp_unknown"), *one.headers[1:]])


FAULTS: Mapping[str, Callable[[BenchCommand], BenchCommand]] = {
    "one fault": _with_body(productId="none"),
    "40 faults": _with_body(productId="none", gs1={"gtin": "", "serialNumber": ""}, confirmOverage=0, parties=_FORTY),
    "64 KiB of faults": lambda one: replace(one, value=KINDS["field errors"](0)[0]),
    "bad credentials": _unknown_key,
    "bad signature": lambda one: replace(one, value=one.value + b" "),
}
"""What makes a command wrong, by its name."""

CREATED, SIGNED, LARGE = "created", "created and signed", "64 KiB and created"
BESIDE = [(fault, {"bad signature": SIGNED, "64 KiB of faults": LARGE}.get(fault, CREATED)) for fault in FAULTS]
"""With what a command that is wrong is compared."""

ALTERED = {**FAULTS, LARGE: _with_body(unknown={str(number): 0 for number in range(5_900)})}
"""What makes a command another one, by its name."""
