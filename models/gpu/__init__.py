"""One card among several processes: whose turn it is to measure its free memory, and how full it is.

Knows no model. torch is imported late, and only where a process uses it already.
"""
