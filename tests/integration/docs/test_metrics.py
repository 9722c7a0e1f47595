"""docs/metrics.md, from top to bottom, and its part of Prometheus's configuration."""

import yaml

from tests.integration.docs.blocks import ROOT, blocks_of
from tests.integration.docs.reader import Reader
from workers.arguments import read

PAGE = "docs/metrics.md"


def test_the_page_runs_from_top_to_bottom(reader: Reader) -> None:
    reader.read_to_the_end()


def test_prometheus_is_told_the_ports_of_the_command_beside_it() -> None:
    blocks = {block.language: block.code for block in blocks_of(PAGE)}
    parts = read(blocks["sh"].split()[4:])
    ports = [part.options.metrics[1] for part in parts if getattr(part.options, "metrics", None)]
    told = yaml.safe_load(blocks["yaml"])
    (job,) = told["scrape_configs"]
    (targets,) = job["static_configs"]
    assert targets["targets"] == ["127.0.0.1:8080", *(f"127.0.0.1:{port}" for port in ports)]
    assert told["rule_files"] == [path.name for path in (ROOT / "deploy/prometheus").glob("*.rules.yml")]
