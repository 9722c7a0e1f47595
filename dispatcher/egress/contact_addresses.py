"""Which mail addresses customers may enter as a contact. Pure."""

from collections.abc import Sequence

from email_validator import EmailNotValidError, validate_email

from dispatcher.egress.address_policy import is_name
from dispatcher.egress.mail_addresses import mail_address

_PUBLIC = "example.com"  # stands for a domain of the operator's own when the part before the @ is checked


def refused_contact(text: str, own_domains: Sequence[str]) -> str | None:
    """Why an address cannot be a contact; None if it can. Its domain must be one of the public internet, or one of the
    installation's own domains or below it. Nothing is looked up."""
    if mail_address(text) is None:
        return "must be one plain mail address"
    local, _, domain = text.rpartition("@")
    domain = domain.lower()
    is_own = is_name(domain) and any(domain == own or domain.endswith(f".{own}") for own in own_domains)
    try:
        validate_email(f"{local}@{_PUBLIC}" if is_own else text, strict=True, check_deliverability=False)
    except EmailNotValidError:
        return "must be one plain mail address in a domain of the public internet"
    return None
