"""All checks, in the order in which they are shown."""

from dispatcher.diagnosis.checks import broker, choices, database, engine, interpreter, outside, server, trials
from dispatcher.diagnosis.running import Check

DATABASE, MIGRATIONS, BROKER = "database", "migrations", "broker"  # what others need

CHECKS = (
    Check("settings", "settings", choices.settings),
    Check("settings", "python", interpreter.python),
    Check("database", DATABASE, database.answers, place=database.place),
    Check("database", "pooler", database.pooler, DATABASE),
    Check("database", MIGRATIONS, database.migrations, DATABASE),
    Check("database", "rights", database.rights, DATABASE),
    Check("database", "encryption", database.encryption, MIGRATIONS),
    Check("database", "binding", database.binding, MIGRATIONS),
    Check("database", "storing", database.storing, MIGRATIONS),
    Check("database", "clock", database.clock, DATABASE),
    Check("server", "connections", server.connections, DATABASE),
    Check("server", "snapshot", server.snapshot, DATABASE),
    Check("server", "slots", server.slots, DATABASE),
    Check("server", "bloat", server.bloat, DATABASE),
    Check("tables", "partitions", database.partitions, MIGRATIONS),
    Check("tables", "retention", database.retention, MIGRATIONS),
    Check("broker", BROKER, broker.answers, place=broker.place),
    Check("broker", "broker_memory", broker.memory, BROKER),
    Check("engine", "heartbeats", engine.heartbeats, MIGRATIONS),
    Check("engine", "versions", engine.versions, MIGRATIONS),
    Check("engine", "host_faults", engine.host_faults, MIGRATIONS),
    Check("engine", "host_clocks", engine.host_clocks, MIGRATIONS),
    Check("engine", "sweep", engine.leases, MIGRATIONS),
    Check("engine", "backlog", engine.backlog, MIGRATIONS),
    Check("engine", "claim", trials.claim, MIGRATIONS, trials.SECONDS + 1),
    Check("engine", "quarantine", engine.quarantine, MIGRATIONS),
    Check("outside", "transport", outside.transport),
    Check("outside", "trust", outside.trust),
    Check("outside", "handshake", outside.handshake),
    Check("outside", "mail", trials.mail, "", trials.SECONDS + 1),
)
