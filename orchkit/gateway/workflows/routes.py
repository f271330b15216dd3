"""The operations of the workflow API."""

from __future__ import annotations

from fastapi import APIRouter

from orchkit.gateway.workflows.settings import Offering
from orchkit.kit import Kit


class WorkflowRouter(APIRouter):
    """The operations, and what goes on in them."""

    def close(self) -> None:
        """End all streams of events, so that a server that stops does not wait for those who read them."""


def router(kit: Kit, config: Offering) -> WorkflowRouter:
    """The operations of the workflow API on this kit, for an app to include; `close` it with the server."""
    return WorkflowRouter(prefix=config.workflows.prefix, tags=["workflows"])
