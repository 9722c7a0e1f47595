"""All commands of the command line, by topic. The module of a command is loaded when the command is called."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

import typer

from dispatcher.cli.help_page import Group

Words: TypeAlias = Mapping[str, "Leaf | Branch"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A command: the module of this package that defines it, and the first sentence of its help."""

    module: str
    about: str


@dataclass(frozen=True, slots=True)
class Branch:
    """A group of commands under one word."""

    about: str
    words: Mapping[str, Leaf]


class LoadedWhenUsed(Mapping[str, Any]):
    """word -> command."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, word: str) -> Any:
        if word not in self._loaded:
            self._loaded[word] = _load(word, self._words[word])
        return self._loaded[word]

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def __contains__(self, word: object) -> bool:
        return word in self._words


def _load(word: str, entry: Leaf | Branch) -> Any:
    if isinstance(entry, Leaf):
        module = import_module(f"dispatcher.cli.{entry.module}")
        return typer.main.get_group(module.app).commands[word]
    group = Group(name=word, help=entry.about, no_args_is_help=True, commands=LoadedWhenUsed(entry.words))  # type: ignore[arg-type]
    group.panels = {"Commands": {name: leaf.about.rstrip(".") for name, leaf in entry.words.items()}}
    return group


PANELS: Mapping[str, Words] = {
    "Accounts and webhooks": {
        "account": Branch(
            "Accounts: who owns webhooks and events.",
            {
                "create": Leaf("accounts", "Make an account."),
                "list": Leaf("accounts", "List accounts, newest first."),
                "show": Leaf("accounts", "Show one account and what it has."),
                "limits": Leaf("limits", "Show or set the limits of an account."),
                "usage": Leaf("limits", "Show what an account has used of its limits."),
                "portal-link": Leaf("portal", "Make a link that lets a customer into the portal, once."),
                "end-portal-sessions": Leaf("portal", "End all portal sessions and links of an account."),
                "suspend": Leaf("accounts", "Suspend an account for now."),
                "resume": Leaf("accounts", "Resume a suspended account."),
                "delete": Leaf("accounts", "Delete an account for good."),
            },
        ),
        "key": Branch(
            "API keys: credentials of programs for the HTTP API.",
            {
                "create": Leaf("keys", "Make an API key."),
                "list": Leaf("keys", "List API keys, newest first, also revoked and expired ones."),
                "revoke": Leaf("keys", "Revoke a key, at once and for good."),
            },
        ),
        "webhook": Branch(
            "Webhooks: registered receivers.",
            {
                "create": Leaf("webhooks", "Register a webhook."),
                "list": Leaf("webhooks", "List webhooks, newest first, with masked URLs."),
                "show": Leaf("webhooks", "Show one webhook."),
                "update": Leaf("webhooks", "Change the given options of a webhook."),
                "health": Leaf("webhook_health", "Show the health of a webhook."),
                "rotate-secret": Leaf("webhooks", "Give a webhook a new signing key, with an overlap."),
                "enable": Leaf("webhooks", "Deliver to a webhook again, also what waited."),
                "disable": Leaf("webhooks", "Stop delivering to a webhook for now."),
                "replay": Leaf("to_one_webhook", "Send a webhook what it takes and did not get."),
                "release": Leaf("webhooks", "Release a quarantined webhook."),
                "delete": Leaf("webhooks", "Delete a webhook for good."),
            },
        ),
        "contact": Branch(
            "Contacts: whom mails go to, and whether they want them.",
            {
                "list": Leaf("contacts", "List an account's contacts, newest first."),
                "confirm": Leaf("contacts", "Confirm a contact."),
                "unsubscribe": Leaf("contacts", "Unsubscribe a contact."),
            },
        ),
        "notice": Branch(
            "Notices: mails to contacts about problems.",
            {
                "list": Leaf("notices", "List notices, newest problem first."),
                "release": Leaf("notices", "Release a quarantined notice."),
            },
        ),
    },
    "Events and deliveries": {
        "explain": Leaf("explain", "Explain why something is where it is."),
        "series": Leaf("series", "Show what came of requests over time."),
        "enqueue": Leaf("enqueue", "Enqueue the messages of a file, one event a line."),
        "trigger": Leaf("trigger", "Send a sample event."),
        "listen": Leaf("listen", "Receive callbacks on this machine and show them."),
        "event": Branch(
            "Events: what was enqueued.",
            {
                "list": Leaf("events", "List an account's events, newest first."),
                "show": Leaf("events", "Show one event: its message and its deliveries."),
                "send-again": Leaf("to_one_webhook", "Send an event to one webhook at once."),
            },
        ),
        "delivery": Branch(
            "Deliveries: one event due to one webhook.",
            {
                "list": Leaf("deliveries", "List deliveries, newest first."),
                "show": Leaf("deliveries", "Show one delivery with its last 100 attempts."),
                "redeliver": Leaf("deliveries", "Redeliver a closed delivery at once."),
                "redeliver-many": Leaf("redeliveries", "Redeliver many closed deliveries."),
                "cancel": Leaf("deliveries", "Cancel a delivery that waits for its next attempt."),
            },
        ),
        "redelivery": Branch(
            "Bulk redeliveries and replays: their progress.",
            {
                "list": Leaf("redeliveries", "List an account's bulk redeliveries, newest first."),
                "show": Leaf("redeliveries", "Show a bulk redelivery: its filter and progress."),
                "cancel": Leaf("redeliveries", "Cancel the rest of a bulk redelivery."),
            },
        ),
    },
    "Installation": {
        "up": Leaf("servers", "Run a whole engine here, until Ctrl-C."),
        "engine": Leaf("engine", "Show the addresses of the engine that `up` runs."),
        "demo": Leaf("servers", "Show a whole engine at work on temporary data."),
        "status": Leaf("status", "Show how the installation does, on one screen."),
        "doctor": Leaf("doctor", "Say whether all is well, and if not, what to do."),
        "migrate": Leaf("admin", "Bring the database to this version's tables."),
        "roles": Leaf("roles", "Show the database roles of the engine's processes."),
        "settings": Leaf("admin", "Show the settings in use, with their variables."),
        "secrets": Branch(
            "Secrets at rest.",
            {
                "generate-key": Leaf("admin", "Make a key for DISPATCHER_ENCRYPTION_KEYS."),
                "rotate": Leaf("admin", "Re-encrypt all secrets with the newest key."),
            },
        ),
        "retention": Leaf("retention", "Remove now what is older than it is to be kept."),
        "erase": Leaf("erase", "Erase messages for good, with what was answered to them."),
        "console-link": Leaf("portal", "Make a link that signs you in to the console, once."),
        "audit-log": Leaf("audit", "List who changed what, newest first."),
        "openapi": Leaf("admin", "Print the HTTP API's OpenAPI document."),
    },
}

# What `run.sh` does itself.
RUN_SH = {
    "shell": "Your shell, with `dispatcher` on its path",
    "test": "Run checks and tests; arguments go to pytest",
    "acceptance": "Run the tests of whole engines and nodes",
    "browser": "Run the tests of the console and the portal in Chromium",
    "audit": "Check the pinned packages for known vulnerabilities",
    "sbom": "Print the packages as a bill of materials (CycloneDX)",
    "storm": "Do everything bad at once to an installation, and count",
    "faults": "Do single faults to an installation, and see it recover",
    "soak": "Load an installation steadily, and see what grows",
    "guide": "Type the operators' guide, with folders for servers",
    "fuzz": "Send made-up requests to the API and all dialects",
    "build": "Build the two wheels: the producers' and the engine's",
    "bench": "Measure the engine against baselines",
}
