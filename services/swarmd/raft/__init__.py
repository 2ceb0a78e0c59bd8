"""Consensus among the managers: a replicated log after Raft (Ongaro, "Consensus: bridging theory and practice", 2014).

`core` decides and touches nothing: no clock, disk, network or task. `shell` performs what the core decided.
"""
