"""The block ``alerts`` of the routes file: where an operator is told of what is wrong, and from when on."""

import re
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field

from gateway.config.forms import Duration, Strict, Text, described
from gateway.config.units import whole
from gateway.core.alerts import AlertSettings

_PERCENT: Final = re.compile(r"([0-9]{1,2})\s?%")
_URL: Final = re.compile(r"https?://[!-~]+")
_LEVEL: Final[dict[str, Any]] = {"type": "integer", "minimum": 1, "maximum": 100}


def _percent(value: object) -> int:
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) < 1:
        raise ValueError("must be from 1% to 99%, written like 90%")
    return int(match[1])


def _level(value: object) -> int:
    level = whole(value)
    if not 1 <= level <= 100:
        raise ValueError("must be a percentage from 1 to 100")
    return level


def _webhook(value: object) -> str:
    """Take an address. It may have a query: many of these addresses are their own credential."""
    try:
        parts = urlsplit(value) if isinstance(value, str) and _URL.fullmatch(value) else None
        is_good = parts is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_good = None, False
    if not is_good or parts is None:
        raise ValueError("must be an http:// or https:// URL with a host")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("must not carry a user or a fragment")
    return str(value)


Percent: TypeAlias = Annotated[int, *described(_percent, {"type": "string", "pattern": r"^[0-9]{1,2} ?%$|\$\{.*\}"})]
Level: TypeAlias = Annotated[int, *described(_level, _LEVEL)]
WebhookUrl: TypeAlias = Annotated[str, *described(_webhook, {"type": "string", "pattern": r"^https?://.+$|\$\{.*\}"})]


class AlertsBlock(Strict):
    """Whom to tell of what is wrong, besides the log."""

    webhook: WebhookUrl | None = Field(
        default=None, description="Where alerts are posted as JSON; absent: they go to the log only."
    )
    secret: Text | None = Field(default=None, description="Signs what is posted, in x-waybill-signature.")
    repeat: Duration = Field(
        default=3_600.0,
        description="How long the same alert is not repeated while it lasts.",
        json_schema_extra={"default": "1h"},
    )
    budget: list[Level] = Field(
        default=[80, 100],
        max_length=5,
        description="Percentages of a key's budget for which there is an alert when they are spent.",
    )
    disk: Percent = Field(
        default=90,
        description="How full a disk may be before there is an alert.",
        json_schema_extra={"default": "90%"},
    )

    def frozen(self) -> AlertSettings:
        """Give the settings."""
        return AlertSettings(
            webhook=self.webhook,
            secret=self.secret,
            repeat_s=self.repeat,
            budget=tuple(sorted(set(self.budget))),
            disk=self.disk,
        )
