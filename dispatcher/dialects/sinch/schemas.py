"""The documents of Sinch's dialect, as its OpenAPI describes them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.dialects.sinch.fields import MAX_TARGET, TARGET_TYPES, TRIGGERS


class WebhookDocument(BaseModel):
    """A webhook with all its members."""

    model_config = ConfigDict(extra="forbid")

    app_id: str
    client_credentials: dict[str, Any] | None
    id: str
    secret: Annotated[str, Field(description="Empty if there is none.")]
    target: str
    target_type: str
    triggers: list[str]


class Webhooks(BaseModel):
    """The webhooks of an app."""

    webhooks: list[WebhookDocument]


_MEMBERS: dict[str, Any] = {
    "app_id": {"type": "string", "minLength": 1, "maxLength": 255},
    "target": {"type": "string", "format": "uri", "maxLength": MAX_TARGET},
    "target_type": {"type": "string", "enum": list(TARGET_TYPES)},
    "triggers": {"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(TRIGGERS)}},
    "secret": {"type": "string", "maxLength": 1024},
    "client_credentials": {
        "type": "object",
        "required": ["client_id", "client_secret", "endpoint"],
        "properties": {
            "client_id": {"type": "string", "minLength": 1, "maxLength": 1024},
            "client_secret": {"type": "string", "minLength": 1, "maxLength": 4096},
            "endpoint": {"type": "string", "format": "uri"},
            "scope": {"type": "string", "maxLength": 1024},
            "response_type": {"type": "string", "maxLength": 64},
            "token_request_type": {"type": "string", "enum": ["BASIC", "FORM"]},
        },
    },
}
CREATE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["app_id", "target", "triggers"],
    "properties": _MEMBERS,
}
UPDATE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **_MEMBERS,
        "update_mask": {"type": "string", "description": "As in the query, which takes precedence."},
    },
}
