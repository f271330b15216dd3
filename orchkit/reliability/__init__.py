"""Policies around a call: pure decisions, and the pipeline that carries them out."""
