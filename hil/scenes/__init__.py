"""Rendered visitors with known truth: what the sensor is counted, tracked and shown on.

`script` reads a scene, `portraits`, `figures` and `stage` draw it, `render` puts a frame together
with its `truth`, `source` gives the frames to vision, `evaluation` counts what vision made of them.
"""
