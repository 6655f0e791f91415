"""Faults of a turn's way through the line."""

from tests.mutants.fault import Fault

_PIPELINE = "worker/batch/pipeline.py"

FAULTS = (
    Fault(
        "b01-answer-size-unchecked",
        "a result fits its topic, headers included",
        _PIPELINE,
        "if answer.record_bytes > RECORD_BYTES:",
        "if len(answer.value) > RECORD_BYTES:",
        ("tests/contract/test_halving.py",),
    ),
    Fault(
        "b08-facts-reused-attempt",
        "signatures are verified in turns of several lanes, too",
        _PIPELINE,
        "        if facts.signing_keys:\n",
        "        if facts.signing_keys and len(turn) == 1:\n",
        (
            "tests/contract/test_signing_keys.py",
            "tests/contract/test_together.py",
            "tests/unit/test_signed_commands.py",
        ),
    ),
    Fault(
        "batch-blind-to-itself",
        "each command of a batch sees what those before it created",
        _PIPELINE,
        "            facts.absorb(outcome, answer.value)\n",
        "",
        ("tests/unit/test_properties.py", "tests/contract/test_store.py"),
    ),
    Fault(
        "answers-unbounded",
        "the answers of a transaction are bounded",
        _PIPELINE,
        "if size > TURN_ANSWER_BYTES and len(commands) > 1:",
        "if size < 0 and len(commands) > 1:",
        ("tests/contract/test_large_catalogue.py", "tests/contract/test_halving.py"),
    ),
)
