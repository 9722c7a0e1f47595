"""Host names and ports as our own servers have them, which may be called what no receiver may. Pure."""

import re

from dispatcher.egress.address_policy import is_address

_LABEL = r"[^\W_]([\w-]{0,61}\w)?|_[\w-]{0,62}"
_NAME = re.compile(rf"({_LABEL})(\.({_LABEL}))*\.?")  # an underscore: containers are called so
_ODD_ADDRESS = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?", re.IGNORECASE)


def is_host(text: str) -> bool:
    """Whether a text is a host name, or an address without brackets."""
    if is_address(text):
        return True
    return len(text) <= 253 and bool(_NAME.fullmatch(text)) and not _ODD_ADDRESS.fullmatch(text)


def is_port(text: str) -> bool:
    """Whether a text is a port that one can connect to."""
    return bool(re.fullmatch(r"[0-9]{1,5}", text)) and 0 < int(text) < 65536


def check_mail_host(text: str) -> None:
    """Raises ValueError for what is no host alone."""
    if text and not is_host(text):
        raise ValueError(
            "must be a host name or an address alone: no port (DISPATCHER_SMTP_PORT), no scheme, no brackets"
        )
