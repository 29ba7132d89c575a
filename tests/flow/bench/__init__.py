"""Measuring FLOW: `make flow-bench`."""
