"""The replicated store of the swarm: typed tables that change only by transactions, each of which is one raft entry.

Reading order: `tables` (what there is), `rows` and `memory` (how it is kept and how entries change it), `transaction`
(how a change is put together), `changes` (what readers hear of it), `store` (the whole).
"""
