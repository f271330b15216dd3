"""Looking after services: probes, their status, and what the record says of it."""
