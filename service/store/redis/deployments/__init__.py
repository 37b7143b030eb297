"""Deployments of Redis: one node, a primary with sentinels, or a cluster."""
