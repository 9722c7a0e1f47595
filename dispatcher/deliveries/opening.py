"""How a delivery is opened: ready, due now, with the whole retry span of its webhook ahead. New events, redeliveries
and test events all use this."""

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func

from dispatcher.states import State


def opened(retry_span: ColumnElement[timedelta] | timedelta, *, bypasses_circuit: bool) -> dict[str, Any]:
    """The columns of an open delivery and their values. `retry_span` is the webhook's, in the installation's time
    scale; `bypasses_circuit`: an open circuit does not hold the next attempt back."""
    return {
        "state": State.READY,
        "due_at": func.now(),
        "give_up_at": func.now() + retry_span,
        "bypasses_circuit": bypasses_circuit,
    }
