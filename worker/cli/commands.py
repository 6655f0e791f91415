"""The command line: `run`, `migrate`, `topics`, `validate`, `settings`, `demo`; other verbs have files of their own."""

import os
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import structlog
from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from worker import __version__
from worker.cli.arguments import moment
from worker.cli.audit import app as audit_app
from worker.cli.catalogue import catalogue
from worker.cli.dead_letters import dead_letters
from worker.cli.doctor import doctor
from worker.cli.errors import BadUsage, Failed
from worker.cli.explain import app as explain_app
from worker.cli.keys import keys
from worker.cli.lanes import lanes
from worker.cli.migrate import migrate_command
from worker.cli.output import leave_closed_pipe, say
from worker.cli.quota import quota
from worker.cli.replay import app as replay_app
from worker.cli.running import (
    collect_garbage_seldom,
    run_async,
    settings_with_warnings,
    warn,
    warn_of_unknown_variables,
)
from worker.cli.sandbox import sandbox
from worker.cli.settings_list import bad_settings, listed, unknown_variables
from worker.cli.signatures import check_of, not_checked, signed_header, signer_of, with_signatures
from worker.cli.submit import app as submit_app
from worker.cli.tail import app as tail_app
from worker.cli.validation import summary, verdicts
from worker.observability.logs import configure_logs
from worker.observability.otlp import CannotTrace, tracing_from_environment
from worker.settings import PREFIX, Settings
from worker.store.connect import CannotConnect
from worker.store.migrate import MigrationError
from worker.stream.cluster.connection import CLUSTER_ERRORS, Cluster, explain
from worker.stream.cluster.topics import compare_topics, create_topics

log = structlog.get_logger(__name__)

app = App(
    name="passport-worker",
    version=__version__,
    help="Answers create-passport commands from Kafka, exactly once. Settings are PASSPORT_* environment variables: "
    "`passport-worker settings` lists them.",
    help_format="plaintext",
)
topics = App(name="topics", help="Kafka topics.")
app.command(topics)
app.command(catalogue)
app.command(keys)
app.command(lanes)
app.command(audit_app)
app.command(dead_letters)
app.command(doctor)
app.command(explain_app)
app.command(migrate_command, name="migrate")
app.command(quota)
app.command(replay_app)
app.command(sandbox)
app.command(submit_app)
app.command(tail_app)


@app.command
def run() -> None:
    """Answer commands until SIGTERM or SIGINT. The standard OTEL_* variables switch traces on."""
    from worker.app import make_worker  # HTTP and metrics take a quarter of a second, which no other command needs
    from worker.service import CannotStart

    configure_logs()
    for variable, nearest in unknown_variables(os.environ):
        log.warning("unknown_setting", variable=variable, nearest=nearest)
    settings = Settings()
    tracing = tracing_from_environment()
    collect_garbage_seldom()

    async def serve() -> None:
        await make_worker(settings, tracing).run()
        _leave()

    try:
        run_async(serve)
    except CannotStart as error:
        raise Failed(str(error)) from error


def _leave() -> None:
    """End the process now that all is closed.

    A thread that looks up a name cannot be stopped: loop and interpreter would wait for it, for as long as DNS hangs.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@topics.command(name="create")
def topics_create(
    *,
    check: Annotated[bool, Parameter(help="Create nothing; exit 1 if one is missing or differs.", negative=())] = False,
) -> None:
    """Create the topics that are missing. Existing ones are left as they are; where they differ, it says what to do."""
    settings = settings_with_warnings()
    configure_logs()

    async def create() -> bool:
        cluster = Cluster(settings)
        try:
            names, drift = await (compare_topics if check else create_topics)(cluster, settings)
        except CLUSTER_ERRORS as error:
            raise Failed(explain(error, settings)) from error
        finally:
            await cluster.close()
        for name in names:
            print(f"{'missing' if check else 'created'} {name}")
        for difference in drift:
            print(f"differs {difference}")
        if not names and not drift:
            print("all topics are there, as they should be")
        return not (names or drift)

    if not run_async(create) and check:
        sys.exit(1)


_FILE = Parameter(help="NDJSON, or a single JSON document; - for stdin.", allow_leading_hyphen=True)


@app.command
def validate(  # noqa: PLR0913 - its options
    file: Annotated[Path, _FILE],
    /,
    *,
    signing_key: Annotated[
        Path | None, Parameter(help="A PEM file: print the header jws-signature of each good command, for an hour.")
    ] = None,
    signature: Annotated[
        str | None, Parameter(help="A jws-signature: say what the worker would say of it, with these commands.")
    ] = None,
    idempotency_key: Annotated[str | None, Parameter(help="The header beside a signature.")] = None,
    catalogue: Annotated[
        Path | None, Parameter(help="A catalogue file: whether a key of it has signed, and was valid.")
    ] = None,
    at: Annotated[
        str | None, Parameter(help="When --signature is judged, such as 2026-12-31T23:00:00Z; else now.")
    ] = None,
) -> None:
    """Say what the worker would say of each command in a file, without credentials, Kafka and Postgres.

    Values are plain commands or structured CloudEvents. Exit 1 if any is bad. Signatures are made and checked for
    PASSPORT_SIGNATURE_AUDIENCE, or the command topic.
    """
    settings = settings_with_warnings()
    limits, audience = settings.limits, settings.signature_audience or settings.topic_commands
    signer = signer_of(signing_key, audience)
    check = check_of(signature, audience, idempotency_key, catalogue, None if at is None else moment("--at", at))
    good = bad = 0
    try:
        with _opened(file) as stream:
            for verdict in with_signatures(verdicts(stream, limits), check, limits):
                for problem in verdict.problems:
                    say(f"line {verdict.line}: {problem}")
                for warning in verdict.warnings:
                    say(f"line {verdict.line}: warning: {warning}")
                if signer is not None and not verdict.problems:
                    say(f"line {verdict.line}: {signed_header(signer, verdict.value, idempotency_key, limits)}")
                bad += bool(verdict.problems)
                good += not verdict.problems
        say(summary(good, bad, not_checked(check)))
        if good + bad == 0:
            warn(f"there was no command in {file}")
        sys.stdout.flush()
    except BrokenPipeError:
        leave_closed_pipe(1)
    except KeyboardInterrupt:  # no verdict on what was not read
        raise Failed("interrupted") from None
    sys.exit(1 if bad else 0)


def _opened(file: Path) -> BinaryIO:
    try:
        return sys.stdin.buffer if str(file) == "-" else file.open("rb")
    except OSError as error:
        raise BadUsage(f"cannot read {file}: {error.strerror}") from error


@app.command
def demo(
    *,
    commands: Annotated[int, Parameter(help="How many commands the factories publish.")] = 2000,
    keep: Annotated[bool, Parameter(help="Leave everything running and print how to reach it.", negative=())] = False,
    live: Annotated[bool, Parameter(help="Show a live table; plain lines otherwise.")] = True,
) -> None:
    """See it work: embedded PostgreSQL and broker, simulated factories, the real worker, and a check of the promise."""
    from worker.demo.show import run_demo

    if commands < 1:
        raise BadUsage(f"--commands: expected a number of at least 1, got {commands}")
    settings = settings_with_warnings()
    configure_logs(quiet=True)
    run_async(lambda: run_demo(settings, commands=commands, keep=keep, live=live))


@app.command(name="settings")
def settings_command() -> None:
    """List every setting: what it is for, its value, its default, and where the value came from. No secret is shown.

    Exit 2 if one is bad, with what is wrong.
    """
    warn_of_unknown_variables()
    found = listed()
    for one in found:
        say(str(one))
    sys.exit(2 if any(one.problem for one in found) else 0)


def _bad_settings(error: ValidationError) -> str:
    lines = [f"{PREFIX}{name.upper()}: {text}" if name else text for name, text in bad_settings(error)]
    return "bad settings:\n  " + "\n  ".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Exit 0 on success and clean stop, 2 on bad usage or settings, 1 otherwise."""
    tokens = sys.argv[1:] if arguments is None else arguments
    try:
        app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        if tokens in ([], *([group.name[0]] for group in (topics, catalogue, dead_letters, keys, quota))):
            sys.exit(2)  # a command is missing; its help was shown
    except CycloptsError as error:
        _fail(f"{error}\nTry `passport-worker --help`.", 2)
    except ValidationError as error:
        _fail(_bad_settings(error), 2)
    except BadUsage as error:
        _fail(str(error), 2)
    except CannotTrace as error:
        _fail(f"bad settings:\n  {error}", 2)
    except (MigrationError, CannotConnect, Failed) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(0)
    except Exception as error:
        _fail(f"{type(error).__name__}: {error}", 1)


def _fail(message: str, code: int) -> None:
    print(f"passport-worker: {message}", file=sys.stderr)
    sys.exit(code)
