"""The playground: N full nodes on one machine, each in a network namespace of its own.

Only the standard library and the system's `ip` and `nsenter` are used, so that it runs before anything is installed and
can clean up after any crash. Everything it makes is found again by name alone (`layout.py`): `down` needs no state.

    layout.py     names and paths of a playground, and what was asked for (the plan)
    network.py    the LAN: a namespace with a bridge, and one namespace per node
    groups.py     a cgroup per node, to kill, freeze and count all of its processes at once
    processes.py  pid files that survive pid reuse
    supervise.py  the supervisor: starts daemons and restarts those that died, as systemd would
    commands.py   the command line
"""
