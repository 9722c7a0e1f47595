"""What README and docs say, held against the code: links, file names, commands, words, tables."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer

import dispatcher
from benchmarks.__main__ import app as bench
from dispatcher import asgi
from dispatcher.api.webhooks.bodies import NewWebhook
from dispatcher.asgi import DIALECTS
from dispatcher.cli.app import app
from dispatcher.db.models import Base
from dispatcher.errors import VerificationError
from dispatcher.event_types import MESSAGE_TYPES, subscriptions_taking
from dispatcher.receiver_auth.credentials import ClientCredentials
from dispatcher.receiver_auth.token_request import token_request
from dispatcher.settings import OWN_NAMES, RENAMED, SECRETS, Settings, environment_name
from dispatcher.signing.keys import SigningKey
from dispatcher.signing.signer import Signer
from dispatcher.states import Reason, State
from dispatcher.transport.exchange import FailureKind
from dispatcher.verify import Receiver
from dispatcher.wake import QUEUES
from dispatcher.webhooks.notices import NoticeKind
from dispatcher.webhooks.secrets import WebhookSecrets
from schedules.catalog import DEFAULT
from schedules.timing import REAL_TIME
from tests.claims import TARGET
from tests.each import each
from tests.example_receivers import COMMANDS, VECTORS
from tests.faults.__main__ import app as storm
from tests.faults.cases.__main__ import app as faults
from tests.faults.cases.catalog import BY_NAME
from tests.faults.soak.__main__ import app as soak
from tests.integration.docs.blocks import blocks_of
from workers.callbacks.render import render
from workers.claims.claims import Claim

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^]]+\]\(([^)\s]+)\)")
_FILE = re.compile(r"(?:dispatcher|workers|schedules|tests|docs|deploy|benchmarks|examples)/[\w./-]*")
_COMMAND = re.compile(r"(?:\./run\.sh|(?<![\w./@-])(?<!from )dispatcher)[ \t]+([^|`\n)]*)")

CLI: Any = typer.main.get_command(app)
PROGRAMS: dict[str, Any] = {
    name: typer.main.get_command(program)
    for name, program in (("bench", bench), ("storm", storm), ("faults", faults), ("soak", soak))
}

SIGNING_KEY = SigningKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")  # of the public specification's example
SIGNED = replace(
    TARGET,
    signer=Signer(
        WebhookSecrets(signing_keys=(SigningKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),)), TARGET.contract
    ),
)

pages = each("page", TEXTS)


def prose(text: str) -> str:
    """A text without its code."""
    return _SPAN.sub("", _BLOCK.sub("", text))


def spans(page: str) -> list[str]:
    return _SPAN.findall(_BLOCK.sub("", TEXTS[page]))


def table(page: str, heading: str) -> dict[str, list[str]]:
    """The first table whose first column is headed so: first cell, without marks -> the other cells."""
    lines = iter(TEXTS[page].splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            break
    else:
        raise AssertionError(f"{page} has no table headed {heading!r}")
    found = {}
    for line in lines:
        if not line.startswith("|"):
            break
        first, *rest = [cell.strip() for cell in line.strip("|").split("|")]
        found[re.sub(r"[`*]", "", first).strip()] = rest
    return found


# Links and files


def slug(heading: str) -> str:
    """The anchor that a heading gets on code hosts."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pages
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: str) -> None:
    for link in _LINK.findall(TEXTS[page]):
        assert "://" not in link, f"{link}: these pages must be complete without a network"
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page} links to {link}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, found = set(), ["README.md"]
    while found:
        page = found.pop()
        reached.add(page)
        for link in _LINK.findall(TEXTS[page]):
            target = ((ROOT / page).parent / link.partition("#")[0]).resolve().relative_to(ROOT).as_posix()
            if target in TEXTS and target not in reached:
                found.append(target)
    assert reached == TEXTS.keys()


@pages
def test_every_file_that_is_named_exists(page: str) -> None:
    for name in filter(None, (_FILE.fullmatch(span) for span in spans(page))):
        assert (ROOT / name[0]).exists(), f"{page} names {name[0]}"


@pages
def test_every_variable_that_is_named_is_a_setting(page: str) -> None:
    known = {environment_name(name) for name in Settings.model_fields} | {"DISPATCHER_DATA_DIR", *RENAMED, *OWN_NAMES}
    known |= {f"{environment_name(name)}_FILE" for name in SECRETS}
    named = set(re.findall(r"\b(?:DISPATCHER_[A-Z_]+|DATABASE_URL|BROKER_URL)\b", TEXTS[page]))
    assert named <= known


# Commands


def command_lines(page: str) -> Iterator[tuple[list[str], bool]]:
    """(words, whether it is a line of a block that no other test runs) for each command of ours."""
    for block in blocks_of(page):
        if block.language in {"sh", ""}:
            for words in _COMMAND.findall(block.code.replace("\\\n", " ")):
                yield shlex.split(words, comments=True), block.mark == "not run"
    for span in spans(page):
        if command := _COMMAND.fullmatch(span):
            yield shlex.split(command[1]), False


@pages
def test_every_command_and_option_that_is_shown_exists(page: str) -> None:
    for words, whole in command_lines(page):
        if words[:1] in (["test"], ["acceptance"], ["browser"], ["audit"], ["sbom"], ["guide"], ["build"], ["shell"]):
            assert f"\n{words[0]})\n" in (ROOT / "run.sh").read_text()
            continue
        command, rest = (PROGRAMS[words[0]], words[1:]) if words[0] in PROGRAMS else (CLI, list(words))
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        assert not rest or rest[0].startswith("-") or not hasattr(command, "commands"), f"{page}: {words}"
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in rest if word.startswith("--")} <= options, f"{page}: {words}"
        if whole:
            command.make_context("dispatcher", rest)  # raises for what is missing or of the wrong form


def test_the_commands_looked_at_above_are_not_none() -> None:
    assert sum(1 for page in TEXTS for _ in command_lines(page)) > 20


def test_nothing_is_installed_by_its_name_from_the_public_index() -> None:
    """`dispatcher` is somebody else's there, and whoever wants to can take the names of our distributions."""
    folders = ("dispatcher", "workers", "schedules", "deploy")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".md", ""}]
    text = "\n".join(path.read_text() for path in [*PAGES, *filter(Path.is_file, files)]).replace("\\\n", " ")
    commands = re.findall(r"\bpip install ([^\n`&|;]+)", text)
    assert len(commands) >= 5
    by_name = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w,]+\])?(==.*)?")
    named = [line for line in commands if any(map(by_name.fullmatch, shlex.split(line)))]
    assert [line for line in named if "--index-url https://packages.example.com/" not in line] == []
    assert re.findall(r"\bdispatcher(?:-\w+)?\[.*", text) == [], "an extra, which errors could name"


# Words


def forbidden_words() -> dict[str, str]:
    """Synonym -> the word for it, by the glossary's last column."""
    rows = table("docs/glossary.md", "word")
    return {synonym: word for word, (_, synonyms) in rows.items() for synonym in filter(None, synonyms.split(", "))}


def help_texts(command: Any) -> Iterator[str]:
    """What the command and those below it say of themselves and of their options."""
    yield from filter(None, (command.help, command.epilog, *(getattr(one, "help", "") for one in command.params)))
    for below in getattr(command, "commands", {}).values():
        yield from help_texts(below)


def described(document: Any) -> Iterator[str]:
    """Every description and summary in an OpenAPI document."""
    if isinstance(document, list):
        for value in document:
            yield from described(value)
    elif isinstance(document, dict):
        for name, value in document.items():
            if name in {"description", "summary"} and isinstance(value, str):
                yield value
            else:
                yield from described(value)


def worded() -> dict[str, str]:
    """What people read, without its code: the pages (of the glossary all but its last column), API, settings, help."""
    texts = {page: prose(text) for page, text in TEXTS.items()}
    texts["docs/glossary.md"] = re.sub(r"\|[^|\n]*\|$", "|", texts["docs/glossary.md"], flags=re.MULTILINE)
    texts["docs/openapi.json"] = prose("\n".join(described(json.loads((ROOT / "docs/openapi.json").read_text()))))
    texts["deploy/env.example"] = (ROOT / "deploy/env.example").read_text()
    programs = {f"help of {name}": "\n".join(help_texts(program)) for name, program in PROGRAMS.items()}
    return texts | programs | {"help": "\n".join(help_texts(CLI))}


WORDED = worded()


@each("place", WORDED)
def test_no_text_uses_a_word_that_the_glossary_forbids(place: str) -> None:
    for synonym, word in forbidden_words().items():
        found = re.search(rf"\b{synonym}(?:s|es)?\b", WORDED[place], re.IGNORECASE)
        assert found is None, f"{place} says {found and found[0]!r} for {word}"


def test_the_glossary_forbids_words() -> None:
    assert {"endpoint": "webhook", "job": "delivery", "reaper": "sweep"}.items() <= forbidden_words().items()


# Tables that repeat what the code says


def test_the_retry_table_is_the_default_schedule() -> None:
    units = {"s": timedelta(seconds=1), "min": timedelta(minutes=1)}
    told: list[timedelta] = []
    for retries, (delay,) in table("docs/delivery.md", "retry").items():
        first, _, last = retries.partition(" to ")
        amount, unit = delay.removesuffix(" each").split()
        assert int(first) == len(told) + 1
        told += [int(amount) * units[unit]] * (int(last or first) - len(told))
    assert tuple(told) == DEFAULT.delays


def test_the_failures_are_the_codes() -> None:
    assert table("docs/delivery.md", "failure").keys() == set(FailureKind)


def test_the_mails_are_the_codes() -> None:
    assert [name.replace(" ", "_") for name in table("docs/delivery.md", "mail")] == list(NoticeKind)


def test_the_reasons_and_states_are_the_codes() -> None:
    assert table("docs/states.md", "state").keys() == set(State)
    assert table("docs/states.md", "reason of a discard").keys() == set(Reason)


def requests_shown() -> list[tuple[dict[str, str], str]]:
    """Headers and body of each request on the page about deliveries."""
    found = []
    for language, block in _BLOCK.findall(TEXTS["docs/delivery.md"]):
        if language == "http":
            head, body = block.rstrip("\n").split("\n\n")
            found.append((dict(line.split(": ", 1) for line in head.splitlines()[1:]), body))
    return found


def test_the_callback_shown_is_the_one_that_is_sent() -> None:
    headers, body = requests_shown()[0]
    told = table("docs/delivery.md", "header")
    now: Any = None
    claim = Claim(
        delivery_id=headers["Dispatcher-Delivery-Id"],
        account_no=1,
        webhook_id="w",
        webhook_version=1,
        number=int(headers["Dispatcher-Attempt"]),
        schedule_step=0,
        batch_limit=None,
        failing=False,
        trial=False,
        event_id=headers["Dispatcher-Event-Id"],
        event_type=headers["Dispatcher-Event-Type"],
        app=None,
        expires_at=None,
        occurred_at=now,
        data=body[1:-1].encode(),
        claimed_at=now,
    )
    request = render(
        [claim], SIGNED, headers["Dispatcher-Request-Id"], now=int(headers["webhook-timestamp"]), timing=REAL_TIME
    )
    assert request.body == body.encode()
    assert {**dict(request.headers), "Host": "example.com", "Content-Length": str(len(body))} == headers
    names = {name for names in told for name in names.split(", ")}
    assert names - {"Authorization"} == {name for name in headers if name.startswith(("Dispatcher-", "webhook-"))}


def test_the_token_request_shown_is_the_one_that_is_sent() -> None:
    headers, body = requests_shown()[1]
    credentials = ClientCredentials("https://auth.example.com/oauth2/token", "acme", "open-sesame", "webhook:send")
    request = token_request(credentials, "an-id", REAL_TIME)
    assert request.body == body.encode()
    assert {**dict(request.headers), "Host": "auth.example.com", "Content-Length": str(len(body))} == headers


def test_the_options_of_a_webhook_are_those_of_the_command() -> None:
    create = CLI.commands["webhook"].commands["create"]
    options = {option for parameter in create.params for option in parameter.opts}
    assert table("docs/delivery.md", "option of `dispatcher webhook create`").keys() <= options


def test_the_errors_of_enqueue_are_all_documented_and_can_be_imported() -> None:
    told = table("docs/enqueue.md", "error")
    assert all(issubclass(getattr(dispatcher, name), dispatcher.DispatcherError) for name in told)
    exported = {name for name in dispatcher.__all__ if isinstance(getattr(dispatcher, name), type)}
    errors = {name for name in exported if issubclass(getattr(dispatcher, name), dispatcher.DispatcherError)}
    assert errors - told.keys() == {"DispatcherError", "InvalidInput", "NotFound"}  # the parents of those in the table


def test_the_errors_and_arguments_of_receivers_are_all_documented() -> None:
    errors = {error.__name__ for error in VerificationError.__subclasses__()}
    assert table("docs/receiving.md", "error").keys() == errors
    arguments = Receiver.__init__.__annotations__.keys() - {"return"}
    assert table("docs/receiving.md", "argument of `Receiver`").keys() == arguments


def test_the_signature_that_receivers_must_find_is_the_published_one() -> None:
    key, message_id, timestamp, body, signature = VECTORS[0]
    shown = {name: cell.strip("`") for name, (cell,) in table("docs/receiving.md", "part").items()}
    assert shown == {
        "key": key,
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "body": body.decode(),
        "webhook-signature": signature,
    }


def test_the_page_for_receivers_names_each_program_and_how_it_is_started() -> None:
    rows = table("docs/receiving.md", "language").values()
    started = {re.findall("`(.+?)`", command)[0].replace("9000", "PORT") for _, command in rows}
    assert started == {" ".join(words).replace(sys.executable, "python") for words in COMMANDS.values()}
    linked = {re.findall(r"\]\(\.\./(.+?)\)", file)[0] for file, _ in rows}
    assert linked == {path.relative_to(ROOT).as_posix() for path in (ROOT / "examples/receiving").iterdir()}


def test_the_arguments_of_enqueue_are_all_documented() -> None:
    arguments = dispatcher.enqueue.__annotations__.keys() - {"return"}
    assert table("docs/enqueue.md", "argument").keys() == arguments


def test_the_calls_of_webhooks_are_those_of_the_api() -> None:
    paths = asgi.app.openapi()["paths"]
    offered = {
        f"{method.upper()} {path}": operation
        for path, operations in paths.items()
        for method, operation in operations.items()
        if operation["tags"][0] in {"webhooks", "notices"}
    }
    assert table("docs/api.md", "call").keys() == offered.keys()


def test_the_members_of_a_webhook_are_those_of_the_api() -> None:
    told = {name for names in table("docs/api.md", "member") for name in names.split(", ")}
    assert told == NewWebhook.model_fields.keys()


def test_the_message_types_are_the_catalogues() -> None:
    assert {name: cells[0] for name, cells in table("docs/enqueue.md", "event type").items()} == MESSAGE_TYPES


def test_examples_use_message_types_of_the_catalogue() -> None:
    """A type that is none would reach no webhook that a dialect made."""
    texts = {**TEXTS, "openapi": json.dumps(asgi.app.openapi()), "help": "\n".join(help_texts(CLI))}
    taken = {subscription for name in MESSAGE_TYPES for subscription in subscriptions_taking(name)}
    named = {
        (page, name)
        for page, text in texts.items()
        for name in re.findall(r"(?<![\w./-])message\.[a-z_]+(?:\.[a-z_]+)*(?![\w(/])", text)
    }
    assert {name for _, name in named} > {"message.inbound.received", "message.outbound"}
    assert [found for found in named if found[1] not in taken] == []


def test_every_table_of_the_database_is_documented() -> None:
    told = {name for names in table("docs/architecture.md", "table") for name in names.split(", ")}
    assert told == {mapped.name for mapped in Base.metadata.sorted_tables}


def test_every_call_of_a_dialect_is_documented_and_no_cell_is_empty() -> None:
    for prefix, make in DIALECTS.items():
        page = TEXTS[f"docs/dialects{prefix}.md"]
        for path in make().openapi()["paths"]:
            assert re.sub(r"^/v1|^/api/2.0/production/sms", "", path) in page, f"{prefix}{path} is not told of"
    pages = [text for name, text in TEXTS.items() if name.startswith("docs/dialects")]
    rows = [line for page in pages for line in page.splitlines() if line.startswith("|")]
    assert [row for row in rows if any(not cell.strip() for cell in row.strip("|").split("|"))] == []


@pages
def test_every_message_of_an_example_has_a_type_that_dialects_take(page: str) -> None:
    for name in re.findall(r"\bmessage\.\w+(?:\.\w+)*", TEXTS[page]):
        assert name.startswith(("message.outbound", "message.inbound")), name


def test_every_threat_is_linked_to_tests_that_exist() -> None:
    rows = re.findall(r"^\| (?!threat|values|-)(.+?) \| .+? \| (.+) \|$", TEXTS["docs/security.md"], re.MULTILINE)
    assert len(rows) > 20
    for threat, shown_by in rows:
        linked = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", shown_by)
        assert linked, f"no test shows the defence against: {threat}"
        for name, file in linked:
            assert f"def {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"


def test_every_fault_that_can_be_done_is_told_of_with_what_is_promised() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| .+ \| (.+?) \| .+? \|$", TEXTS["docs/reliability.md"], re.MULTILINE)
    assert len({name for name, _, _ in rows}) == len(rows)
    expires = {True: ", or when a claim expires", False: ""}
    promised = {name: (case.about, f"{case.promise:g} s{expires[case.loses_claims]}") for name, case in BY_NAME.items()}
    assert {name: told for name, *told in rows} == {name: list(told) for name, told in promised.items()}


def test_the_nodes_of_the_page_of_processes_take_all_queues() -> None:
    commands = " ".join(cells[0] for cells in table("docs/configuration.md", "process").values())
    taken = set[str]()
    for process in re.findall(r"-m workers (\w+)", commands):
        words = [sys.executable, "-P", "-m", "workers", process, "--help"]
        said = subprocess.run(
            words, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        ).stdout
        taken |= {
            queue for queues in re.findall(r"the queues ([a-z,\s]+)\.", said) for queue in re.findall(r"\w+", queues)
        }
    assert taken == set(QUEUES.values())
