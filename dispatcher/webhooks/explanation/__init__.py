"""Why a delivery, a webhook or an event is where it is, what happens next, and what a person can do: in sentences."""
