"""What nginx is told is what the API and Flower need."""

import re
import shutil
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest
import uvicorn

from dispatcher.accounts.mail_links import PATH
from dispatcher.settings import Settings
from dispatcher.web.middleware import MAX_BODY_BYTES, MAX_EVENTS_BYTES
from tests.certificates import new_authority
from tests.deploy_files import DEPLOY, PORTS

CONFIG = (DEPLOY / "nginx/dispatcher.conf").read_text()
CODE = re.sub(r"#.*", "", CONFIG)
API, FLOWER = (
    next(part for part in CODE.split("\nserver ") if f"server_name {name};" in part)
    for name in ("hooks.example.com", "flower.example.com")
)


def value(text: str, name: str) -> str:
    (found,) = re.findall(rf"^\s*{name} (.+);$", text, re.MULTILINE)
    return str(found)


def test_what_the_api_takes_nginx_lets_through() -> None:
    assert int(value(API, "client_max_body_size").removesuffix("m")) * 1024 * 1024 == MAX_EVENTS_BYTES > MAX_BODY_BYTES


def test_connections_are_kept_for_less_long_than_by_the_api() -> None:
    upstream = CODE[: CODE.index("server {\n    listen")]
    assert int(value(upstream, "keepalive_timeout").removesuffix("s")) < uvicorn.Config("x").timeout_keep_alive
    assert int(value(upstream, "keepalive")) > 0
    assert (value(API, "proxy_http_version"), value(API, "proxy_set_header Connection")) == ("1.1", '""')


def test_both_lead_to_the_ports_of_the_units() -> None:
    assert re.findall(r"127\.0\.0\.1:(\d+)", CODE) == [str(PORTS["api"]), str(PORTS["flower"])]


def test_the_address_of_a_client_is_nginxs_word_not_the_clients() -> None:
    assert value(API, "proxy_set_header X-Forwarded-For") == "$remote_addr"
    assert value(API, "proxy_set_header X-Forwarded-Proto") == "$scheme"
    trusted = Settings.model_fields["trusted_proxies"].default
    assert ip_network("127.0.0.1") == ip_network(trusted), "nginx on the same server is trusted without a setting"


def test_what_is_for_operators_is_not_public() -> None:
    assert re.findall(r"location = (\S+) { return 404; }", API) == ["/metrics", "/readyz"]
    assert re.findall(r"location (\S+) { return 404; }", FLOWER) == ["/metrics", "/healthcheck"]
    assert re.findall(r"(allow|deny) (\S+);", FLOWER)[-1] == ("deny", "all")


def test_there_is_no_plain_http_and_no_old_tls() -> None:
    plain = [part for part in CODE.split("\nserver ") if "listen 80;" in part]
    assert [value(part, "return") for part in plain] == ["301 https://$host$request_uri"]
    assert {value(part, "ssl_protocols") for part in (API, FLOWER)} == {"TLSv1.2 TLSv1.3"}


def test_links_in_mails_are_not_logged() -> None:
    (not_logged,) = re.findall(r"map \$uri \$(\w+) {\s+default 1;\s+" + PATH + r" 0;\s+}", CODE)
    for part in (API, next(part for part in CODE.split("\nserver ") if "listen 80;" in part)):
        assert value(part, "access_log").endswith(f" if=${not_logged}")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx on PATH: the file is not parsed by nginx")
def test_nginx_takes_it(tmp_path: Path) -> None:
    new_authority(tmp_path).server("hooks.example.com")
    (both,) = [path for path in tmp_path.glob("*.pem") if path.name != "authority.pem"]  # certificate and key
    text = re.sub(r"/etc/nginx/tls/\S+\.(pem|key)", str(both), CONFIG)
    text = text.replace("/var/log/nginx", str(tmp_path))
    ports = {"listen 80;": "listen 127.0.0.1:18080;", "listen 443 ssl;": "listen 127.0.0.1:18443 ssl;"}
    for there, here in ports.items():
        text = text.replace(there, here)
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{text}\n}}\n")
    tested = subprocess.run(["nginx", "-t", "-c", str(whole)], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
