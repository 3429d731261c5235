"""Measurements that anyone can run: each prints its figures beside a rival's, from the same run."""
