"""Vision replaced while visitors come and go: how long nobody looks, and whether it costs one.

`python -m hil.recycling` → build/reports/recycling.json; docs/self-test.md quotes it.
"""
