"""Pixels to label maps: backends, quality gate, pipeline and the worker that feeds on the ledger."""
