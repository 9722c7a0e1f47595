"""Keeps secrets out of the server's access log: a request is logged without its query, which may hold one."""

import logging

_PATH = 2  # of the arguments of an access line: client, method, path with query, version, status


class _WithoutQuery(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and len(record.args) > _PATH:
            path = str(record.args[_PATH]).partition("?")[0]
            record.args = (*record.args[:_PATH], path, *record.args[_PATH + 1 :])
        return True


_without_query = _WithoutQuery()


def drop_queries() -> None:
    """From now on, in this process. Harmless when repeated."""
    logging.getLogger("uvicorn.access").addFilter(_without_query)
