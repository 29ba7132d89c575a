"""pycuda 2026.1, as far as firmware/drivers uses it: see driver.pyi."""
