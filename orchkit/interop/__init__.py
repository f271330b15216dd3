"""Foreign records as orchkit's own: workflows that other systems have run."""
