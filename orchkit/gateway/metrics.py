"""What happens in the gateway and in its kit, in numbers, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pydantic import Field

from orchkit.kit import Kit
from orchkit.model.base import Record

if TYPE_CHECKING:
    from starlette.applications import Starlette


class MetricsSettings(Record):
    """What is measured, and where it is read."""

    enabled: bool = True
    path: str = Field(default="/metrics", pattern=r"^/")
    fresh_s: float = Field(default=5.0, ge=0)
    """What is counted in the record is counted anew after so many seconds at the earliest."""


class Measured(Protocol):
    """What of the configuration of a gateway is asked for here."""

    @property
    def metrics(self) -> MetricsSettings:
        """The settings."""
        ...


def install(app: Starlette, kit: Kit, config: Measured) -> bool:
    """Measure the requests to the app and serve the numbers at ``/metrics``; whether that is wanted."""
    return config.metrics.enabled
