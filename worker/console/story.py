"""The rules that a command came to, for the page that explains it. Pure."""

from dataclasses import dataclass
from typing import Literal

from worker.messages.rules import RULES, Rule
from worker.operations.explain_report import ExplainReport

ALL_RULES = tuple(sorted(set(RULES.values()), key=lambda one: one.number))
_GOOD = {"created": ": done", "replayed": ": it is, and to the same body"}


@dataclass(frozen=True, slots=True)
class RuleStep:
    """A rule, and whether the command got past it or was answered by it; `told` ends the sentence that it begins."""

    rule: Rule
    state: Literal["passed", "answered", "refused"]
    told: str = ""


def rule_steps(report: ExplainReport) -> tuple[RuleStep, ...]:
    """In order, up to the one that answered; none where that is not known."""
    outcome = report.outcome
    if outcome is None or outcome.rule is None:
        return ()
    last = outcome.rule.number
    told = _GOOD.get(outcome.code, ": not so")
    answered = RuleStep(ALL_RULES[last - 1], "answered" if outcome.code in _GOOD else "refused", told)
    return (*(RuleStep(one, "passed") for one in ALL_RULES[: last - 1]), answered)
