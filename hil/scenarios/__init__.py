"""What a sensor must do on every rig: `python -m hil.rigs run RIG`."""
