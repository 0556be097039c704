"""The simulator: the real engine, rules and state file against model servers, in one process.

Clock, network, disk and chance are injected; every run is a function of its
profile, its faults and its seed, so that any failure can be played again.
"""
