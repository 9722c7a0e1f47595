"""Mail addresses that SMTP commands and headers can carry unchanged. Pure."""

from email.errors import MessageError
from email.headerregistry import Address
from email.utils import getaddresses

from dispatcher.egress.address_policy import is_name

MAX_ADDRESS = 254  # characters

# What a mail server on the way may take for an option, a program, a file, or a route to another server.
_ODD_BEGINNINGS, _ODD = "-/~", frozenset("|!%`$")


def mail_address(text: str, display_name: str = "") -> Address | None:
    """The plain mail address in a text; None if it is not one that SMTP commands and headers can carry unchanged, and
    that every mail server on the way takes for the address of a mailbox."""
    # Only what is short is parsed: the parser goes one call deeper with each bracket. `=?` begins an encoded word.
    if len(text) > MAX_ADDRESS or not text.isascii() or not text.isprintable() or "=?" in text:
        return None
    if not is_name(text.partition("@")[2].lower()):  # an address in brackets, which the parser fails at if it is cut
        return None
    try:
        address = Address(display_name, addr_spec=text)
    except (ValueError, MessageError, IndexError):
        return None
    if not address.username or address.addr_spec != text:
        return None
    return None if address.username[0] in _ODD_BEGINNINGS or _ODD & set(address.username) else address


def read_sender(text: str) -> Address:
    """The one address in a sender's text, with its name. Raises ValueError."""
    fit = len(text) <= MAX_ADDRESS and text.isprintable() and "=?" not in text
    parsed = getaddresses([text]) if fit else []
    name, specification = parsed[0] if len(parsed) == 1 else ("", "")
    address = mail_address(specification, " ".join(name.split()))
    if address is None:
        raise ValueError("must be one mail address, perhaps with a name before it")
    return address
