"""The packet filter as data: what our nftables table holds, and the smallest change that makes it so. Pure.

`ruleset` says what the table must be, `listing` what it is, `delta` what to change, `render` how nftables is told.
"""
