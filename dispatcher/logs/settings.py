"""The settings that a process needs first, so that whatever is wrong with the others can be logged."""

from typing import Annotated, get_args

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dispatcher.settings import Settings


class LogSettings(BaseSettings):
    """What the environment says of logs. What it says wrongly is as if it was not said: `read_settings` refuses it."""

    model_config = SettingsConfigDict(env_prefix="DISPATCHER_", extra="ignore")

    log_format: str = "auto"
    log_level: str = "info"
    no_color: Annotated[str, Field(validation_alias="NO_COLOR")] = ""

    @field_validator("log_format", "log_level")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        field = Settings.model_fields[info.field_name or ""]
        return value if value in get_args(field.annotation) else str(field.default)
