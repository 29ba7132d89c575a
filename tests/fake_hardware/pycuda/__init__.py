"""Stands in for pycuda where it cannot be built: see driver.py."""
