"""Sends what `curl` sends, for the options that our pages and the vendors' use. Used if curl is not installed."""

import base64
import http.client
import sys
from contextlib import closing
from urllib.parse import urlsplit

FORM = "application/x-www-form-urlencoded"


def call(words: list[str]) -> tuple[int, str]:
    """Sends the request; status and body of the answer, and after the body the text of `-w`."""
    method, end, headers, data, as_query, url = None, "", {"User-Agent": "curl/7.88.1", "Accept": "*/*"}, [], False, ""
    while words:
        match words.pop(0):
            case "-X" | "--request":
                method = words.pop(0)
            case "-d" | "--data" | "--data-raw":
                data.append(words.pop(0))
            case "-H" | "--header":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            case "-u":
                headers["Authorization"] = f"Basic {base64.b64encode(words.pop(0).encode()).decode()}"
            case "-w":
                end = words.pop(0).replace("\\n", "\n")
            case "-G":
                as_query = True
            case "-i" | "-s" | "--location":
                pass
            case address:
                url = address
    parts, body = urlsplit(url), "&".join(data).encode()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if as_query:
        target, body = f"{target}?{body.decode()}", b""
    if body:
        headers = {"Content-Type": FORM, "Content-Length": str(len(body)), **headers}
    with closing(http.client.HTTPConnection(parts.netloc, timeout=30)) as connection:
        connection.putrequest(method or ("POST" if body else "GET"), target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode() + end


if __name__ == "__main__":
    print(call(sys.argv[1:])[1])
