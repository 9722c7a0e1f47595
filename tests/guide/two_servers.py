"""docs/operations.md, "Two servers, step by step": typed from top to bottom."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.fernet import Fernet

from tests.exposition import Exposition, parsed
from tests.factories import RECEIVED
from tests.guide.load import Load, received
from tests.guide.server import HAS_NAME
from tests.guide.servers import Servers, two_servers
from tests.integration.docs.blocks import ROOT, blocks_of
from tests.process_table import eventually
from tests.receiver import Receiver
from tests.releases import unpack

pytestmark = pytest.mark.engine

PAGE = "docs/operations.md"
BLOCKS = [block for block in blocks_of(PAGE) if block.servers]
FROM_0_2 = {"beside 0.2.0", "from 0.2.0", "back to 0.2.0"}
# What those did who installed 0.2.0 by its deploy/README.md.
INSTALLED = """
git clone --branch v0.2.0 https://git.example.com/dispatcher.git /opt/dispatcher/app
python3 -m venv /opt/dispatcher/venv
cd /opt/dispatcher
venv/bin/python -m pip install --no-deps --require-hashes --only-binary :all: -r app/deploy/requirements.lock
packages=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo /opt/dispatcher/app > "$packages/dispatcher.pth"
install -d -m 0755 /etc/dispatcher
install -m 0600 /dev/null /etc/dispatcher/dispatcher.env
cat > /etc/dispatcher/dispatcher.env <<END
DATABASE_URL={database_url}
BROKER_URL={broker_url}
DISPATCHER_ENCRYPTION_KEYS={key}
DISPATCHER_FLOWER_PASSWORD=of-the-tests
DISPATCHER_ALLOWED_NETWORKS=10.0.0.0/24
END
cp -r app/deploy/systemd/dispatcher*.service* app/deploy/systemd/dispatcher.target /etc/systemd/system/
install -m 0755 app/deploy/systemd/dispatcher /usr/local/bin/dispatcher
systemctl daemon-reload
"""


class Reader:
    """Types the blocks in their order, each on its servers, one server after the other."""

    def __init__(self, servers: Servers, *, from_0_2: bool = False) -> None:
        self._servers = {"one": servers.one, "two": servers.two}
        self._left = iter([block for block in BLOCKS if (block.said in FROM_0_2) == from_0_2])

    def read_to(self, name: str) -> str:
        """What the block with this name printed, on the last of its servers."""
        for block in self._left:
            printed = [self._servers[server].run(block.code, block.place) for server in block.servers]
            if block.said == name:
                self._last = block
                return printed[-1]
        raise AssertionError(f"no block from here on is called {name}")

    def again(self) -> str:
        """What that block prints now."""
        return self._servers[self._last.servers[-1]].run(self._last.code, self._last.place)

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
    assert eventually(lambda: processes(servers).keys() == {"api", "deliver", "maintenance"}), processes(servers)
    assert eventually(lambda: processes(servers)["deliver"] == 2)
    printed = reader.read_to("well")
    assert "FAIL" not in printed
    assert re.search("^  ok +rights ", printed, re.MULTILINE), printed
    assert re.search("live: 2 deliver, [1-3] maintenance, 1 api", printed), printed

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
    reader.read_to("no heartbeat")
    assert eventually(lambda: fires(servers, parsed(reader.again())))
    reader.read_to("deliver again")
    reader.read_to("heartbeat")
    assert eventually(lambda: not fires(servers, parsed(reader.again())))

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
        reader.read_to("new key first")
        assert servers.one.systemctl("stop", "dispatcher-deliver") == ""
        servers.one.run("dispatcher webhook rotate-secret first", "a secret under the new key")
        restored.send("by server two, which has the new key")
        restored.wait()
        assert servers.one.systemctl("start", "dispatcher-deliver") == ""
        reader.read_to("takes the new key")
        assert len(key.read_text().split(",")) == 1
    assert before.strip() not in key.read_text()
    assert key.read_text() == servers.two.folder.joinpath(key.relative_to(servers.one.folder)).read_text()
    assert [name for name, times in received(receiver).items() if times > 1] == ["due at the dump"]
    assert reader.is_at_the_end()


def test_those_who_have_0_2_upgrade_and_go_back_under_load(
    servers: Servers, receiver: Receiver, tmp_path: Path
) -> None:
    old = tmp_path / "0.2.0"
    try:
        unpack("0.2.0", old, "deploy")
    except LookupError as error:
        pytest.skip(f"the code of 0.2.0 is not in the history: {error}")
    servers.rows("CREATE ROLE dispatcher LOGIN PASSWORD 'of-the-tests'", "postgres")
    servers.rows("CREATE DATABASE dispatcher OWNER dispatcher", "postgres")
    url = f"postgresql://dispatcher:of-the-tests@127.0.0.1:{servers.port}/dispatcher"
    installed = INSTALLED.format(database_url=url, broker_url=servers.broker_url, key=Fernet.generate_key().decode())
    for server, names in ((servers.one, "migrate,api,deliver,upkeep,beat"), (servers.two, "migrate,deliver")):
        server.offer("0.2.0", old)
        enable = (
            f"systemctl enable dispatcher.target dispatcher-{{{names}}}.service\nsystemctl start dispatcher.target\n"
        )
        server.run(installed + enable, "0.2.0")
    messages = [f"0.2.0 {number}" for number in range(200)]
    lines = "\n".join(f'{{"id": "{name}", "body": "Yes"}}' for name in messages)
    servers.one.run(
        f"dispatcher account create acme\n"
        f"dispatcher webhook create --account acme --type message --url {receiver.url('/callbacks')}\n"
        f"cat > /var/messages <<END\n{lines}\nEND\n"
        f"dispatcher enqueue --account acme --type {RECEIVED} /var/messages",
        "0.2.0",
    )
    reader = Reader(servers, from_0_2=True)
    reader.read_to("from 0.2.0")
    with Load(url, servers.broker_url, receiver) as load:
        assert eventually(lambda: versions(servers) == {"0.3.0"})
        reader.read_to("back to 0.2.0")
        assert versions(servers) == set(), "0.2.0 does not say which processes live"
    load.send("by 0.2.0")
    load.wait()
    expected = [*messages, *load.sent]
    assert {name: received(receiver)[name] for name in expected} == dict.fromkeys(expected, 1)
    assert reader.is_at_the_end()


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
