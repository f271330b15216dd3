"""Workflows over HTTP: submit a definition, follow its run, read what came of it."""

from orchkit.gateway.workflows.routes import WorkflowRouter, router
from orchkit.gateway.workflows.settings import WorkflowSettings

__all__ = ["WorkflowRouter", "WorkflowSettings", "router"]
