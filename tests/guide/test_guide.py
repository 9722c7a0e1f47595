"""docs/operations.md, "Two servers, step by step": typed from top to bottom."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.exposition import Exposition, parsed
from tests.guide.load import Load, received
from tests.guide.server import HAS_NAME
from tests.guide.servers import Servers, two_servers
from tests.integration.docs.blocks import ROOT, Block, blocks_of
from tests.process_table import eventually
from tests.receiver import Receiver

pytestmark = pytest.mark.engine

PAGE = "docs/operations.md"
BLOCKS = [block for block in blocks_of(PAGE) if block.servers]


class Reader:
    """Types the blocks in their order, each on its servers, one server after the other."""

    def __init__(self, servers: Servers) -> None:
        self._servers, self._left = {"one": servers.one, "two": servers.two}, iter(BLOCKS)

    def read_to(self, name: str) -> str:
        """What the block with this name printed, on the last of its servers."""
        for block in self._left:
            printed = [self._servers[server].run(block.code, block.place) for server in block.servers]
            if block.said == name:
                return printed[-1]
        raise AssertionError(f"no block from here on is called {name}")

    def is_at_the_end(self) -> bool:
        return next(self._left, None) is None


@pytest.fixture
def servers(tmp_path: Path, receiver: Receiver) -> Iterator[Servers]:
    with two_servers(tmp_path, receiver.url("/callbacks")) as servers:
        for server in (servers.one, servers.two):
            for version in ("0.3.0", "0.4.0"):
                server.offer(version, ROOT)
        yield servers


def test_the_guide_is_typed_from_top_to_bottom(servers: Servers, receiver: Receiver) -> None:
    reader = Reader(servers)
    printed = reader.read_to("tables")
    (backend,) = re.findall("^DATABASE_URL=(.+)$", printed, re.MULTILINE)

    reader.read_to("start")
    assert set(servers.one.active) == {"migrate", "api", "deliver", "upkeep", "beat"}
    assert eventually(lambda: processes(servers) == {"api": 1, "deliver": 2, "maintenance": 3})
    printed = reader.read_to("well")
    assert "FAIL" not in printed
    assert "live: 2 deliver, 3 maintenance, 1 api" in printed

    reader.read_to("first")
    receiver.wait_for(1)
    assert eventually(lambda: states(servers) == {"delivered": 1})
    assert "answered 200" in reader.read_to("explain")

    printed = reader.read_to("scale out")
    assert set(servers.two.active) == {"migrate", "deliver"}
    assert eventually(lambda: processes(servers)["deliver"] == 4)
    assert not HAS_NAME or "server-two" in printed

    printed = reader.read_to("children")
    assert eventually(lambda: processes(servers)["deliver"] == 5)

    reader.read_to("rules")
    reader.read_to("stop delivering")
    assert fires(servers, parsed(reader.read_to("no heartbeat")))
    reader.read_to("deliver again")
    assert not fires(servers, parsed(reader.read_to("heartbeat")))

    with Load(backend, servers.broker_url, receiver) as load:
        reader.read_to("upgrade")
        assert versions(servers) == {"0.3.0", "0.4.0"}
        printed = reader.read_to("upgrade two")
        assert versions(servers) == {"0.4.0"}
        reader.read_to("back")
        assert versions(servers) == {"0.3.0"}
    assert len(load.sent) > 100
    assert {name: received(receiver)[name] for name in load.sent} == dict.fromkeys(load.sent, 1)

    for server in (servers.one, servers.two):
        assert server.systemctl("stop", "dispatcher-deliver") == ""
    load.send("due at the dump")
    reader.read_to("back up")
    for server in (servers.one, servers.two):
        assert server.systemctl("start", "dispatcher-deliver") == ""
    load.send("after the dump")
    load.wait()
    reader.read_to("restored")
    restored = Load(backend.replace("/dispatcher", "/dispatcher_restored"), servers.broker_url, receiver)
    restored.send("after the restore")
    restored.wait()
    receiver.wait_until(lambda _: received(receiver)["due at the dump"] == 2)
    assert [name for name, times in received(receiver).items() if times > 1] == ["due at the dump"]

    key = servers.one.folder / "etc/dispatcher/secrets/encryption_keys"
    before = key.read_text()
    with restored:
        reader.read_to("takes the new key")
        assert len(key.read_text().split(",")) == 1
    assert before.strip() not in key.read_text()
    assert key.read_text() == servers.two.folder.joinpath(key.relative_to(servers.one.folder)).read_text()
    assert [name for name, times in received(receiver).items() if times > 1] == ["due at the dump"]
    assert reader.is_at_the_end()


def test_every_block_of_the_guide_is_typed_or_says_why_not() -> None:
    text = (ROOT / PAGE).read_text()
    first, last = (text[: text.index(f"\n## {title}\n")].count("\n") for title in ("Two servers, step by step", "Logs"))
    guide: list[Block] = [block for block in blocks_of(PAGE) if first < block.line < last]
    assert [block.place for block in guide if not block.servers and not (block.mark == "not run" and block.said)] == []
    assert {block.place for block in BLOCKS} == {block.place for block in guide if block.servers}


def processes(servers: Servers) -> dict[str, int]:
    return dict(
        servers.rows(
            "SELECT kind, count(*) FROM dispatcher.processes WHERE seen_at > now() - interval '30 s' GROUP BY kind"
        )
    )


def versions(servers: Servers) -> set[str]:
    return {version for (version,) in servers.rows("SELECT DISTINCT version FROM dispatcher.processes")}


def states(servers: Servers) -> dict[str, int]:
    return dict(servers.rows("SELECT state, count(*) FROM dispatcher.deliveries GROUP BY state"))


def fires(servers: Servers, shown: Exposition) -> bool:
    """Whether the expression of the alert is true of these metrics."""
    rules = yaml.safe_load((servers.one.folder / "etc/prometheus/dispatcher.rules.yml").read_text())
    (expression,) = [
        rule["expr"]
        for group in rules["groups"]
        for rule in group["rules"]
        if rule["alert"] == "DispatcherNoDeliverProcess"
    ]
    found = re.fullmatch(r'min\((\w+)\{kind="(\w+)"\}\) > (\d+)', expression)
    assert found is not None, expression
    return shown.value(found[1], kind=found[2]) > float(found[3])
