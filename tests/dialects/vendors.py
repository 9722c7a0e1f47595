"""What each vendor publishes, by its dialect's prefix."""

from tests.dialects.bulksms.published import PUBLISHED as BULKSMS
from tests.dialects.everlytic.published import PUBLISHED as EVERLYTIC
from tests.dialects.flexengage.published import PUBLISHED as FLEXENGAGE
from tests.dialects.published import Published
from tests.dialects.sinch.published import PUBLISHED as SINCH
from tests.dialects.zipwhip.published import PUBLISHED as ZIPWHIP

VENDORS: dict[str, Published] = {
    "bulksms": BULKSMS,
    "everlytic": EVERLYTIC,
    "flexengage": FLEXENGAGE,
    "sinch": SINCH,
    "zipwhip": ZIPWHIP,
}
