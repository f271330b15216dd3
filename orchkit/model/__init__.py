"""Immutable records: definitions, requests, policies, events, results."""
