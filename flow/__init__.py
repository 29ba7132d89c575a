"""FLOW: the web application where a customer logs in and reads the statistics.

It runs in the cloud (or on a laptop for a trial) and never on a device. Of the sensor's code it
imports the reader, the record's schema and the errors, and nothing else.
"""
