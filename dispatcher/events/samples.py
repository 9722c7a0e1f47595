"""Sample messages, to see a callback before there is a real one."""

from dispatcher.events.event import Data

_OUTBOUND = {
    "id": "4023457654",
    "type": "SENT",
    "from": "1543",
    "to": "27001234567",
    "body": "Your code is 1234.",
}
_INBOUND = {"id": "4023457655", "type": "RECEIVED", "from": "27001234567", "to": "1543", "body": "Yes"}
_STATES = {"accepted": "ACCEPTED", "sent": "SENT", "delivered": "DELIVERED", "failed": "FAILED", "bounced": "FAILED"}


def sample_message(event_type: str) -> Data:
    """A message like those of this event type: an inbound or outbound SMS, or a plain sample."""
    if event_type.startswith("message.inbound"):
        return dict(_INBOUND)
    if event_type.startswith("message."):
        state = _STATES.get(event_type.rpartition(".")[2], "SENT")
        return {**_OUTBOUND, "status": {"id": f"{state}.null", "type": state, "subtype": None}}
    return {"type": event_type, "text": "This is a sample."}
