"""The worker's process: its thread pool, leases, failures, scratch space, spool, counters and GPU.

Knows how work is held and given back, not what the work is; imports none of the rooms along a recording's life.
"""
