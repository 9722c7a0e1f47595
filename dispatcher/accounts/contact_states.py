"""Whether a contact gets mails. Pure."""

from enum import StrEnum


class ContactState(StrEnum):
    """Whether an address gets mails for an account."""

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"  # one mail in a day, in our words only
    UNSUBSCRIBED = "unsubscribed"  # none
    DECLINED = "declined"  # none: not confirmed, and its owner wants no mails for accounts that they have not confirmed
