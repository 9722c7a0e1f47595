"""Run with sinch 1.1.4: creates, lists, reads, changes and deletes a webhook, and prints what the client returned."""

import json
import sys

from sinch import SinchClient
from sinch.domains.conversation.exceptions import ConversationException

origin, key_id, key_secret = sys.argv[1:]
client = SinchClient(key_id=key_id, key_secret=key_secret, project_id="proj1")
client.configuration.disable_https = True
client.configuration.auth_origin = f"{origin}/sinch"
client.configuration.conversation_origin = f"{origin}/sinch"
webhooks = client.conversation.webhook

made = webhooks.create(app_id="app1", target="https://hooks.example.com/y", triggers=["MESSAGE_INBOUND"])
listed = webhooks.list(app_id="app1").webhooks
read = webhooks.get(webhook_id=made.id)
changed = webhooks.update(
    webhook_id=made.id, app_id="app1", target="https://hooks.example.com/z", triggers=["OPT_IN"], update_mask="target"
)
webhooks.delete(webhook_id=made.id)
try:
    webhooks.get(webhook_id=made.id)
    error = None
except ConversationException as refused:
    error = str(refused)
print(
    json.dumps(
        {
            "made": vars(made),
            "listed": [vars(webhook) for webhook in listed],
            "read": vars(read),
            "changed": vars(changed),
            "error": error,
        }
    )
)
