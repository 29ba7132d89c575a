"""Rigs: a board, a camera, a network and a cloud that labgrid drives, whatever they are made of.

`<rig>.yaml` says what a rig is made of and what it cannot do; `strategy` brings the sensor on it
into a state; `hil/scenarios` holds the tests, which know none of that.
"""
