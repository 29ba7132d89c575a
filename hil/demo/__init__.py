"""The demo: a scene, a sensor, a hub and the key's holder on one machine.

`pilot` provisions the sensor, `player` runs it in front of the scene, `arrivals` counts what comes
out of the hub, `terminal` shows it, `overview` hands over to the web application.
"""
