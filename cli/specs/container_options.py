"""The options of `run` and `create`: all of docker's, and what is ours."""

from __future__ import annotations

from cli.specs.options import Option, add, many, measure, number, switch, text

ALIASES = {"--net": "--network", "--net-alias": "--network-alias", "--dns-opt": "--dns-option"}
"""Docker's old names."""

_PROCESS: list[Option] = [
    many("-a", "--attach", help="Attach to STDIN, STDOUT or STDERR"),
    text("--entrypoint", help="Overwrite the default ENTRYPOINT of the image", default=None),
    many("-e", "--env", help="Set environment variables"),
    many("--env-file", help="Read in a file of environment variables"),
    many("--group-add", help="Add additional groups to join"),
    switch("--init", help="Run an init inside the container that forwards signals and reaps processes"),
    switch("-i", "--interactive", help="Keep STDIN open even if not attached"),
    switch("-t", "--tty", help="Allocate a pseudo-TTY"),
    text("-u", "--user", help="Username or UID (format: <name|uid>[:<group|gid>])"),
    text("-w", "--workdir", help="Working directory inside the container"),
]
_IDENTITY: list[Option] = [
    text("--name", help="Assign a name to the container"),
    text("--cidfile", help="Write the container ID to the file"),
    many("-l", "--label", help="Set meta data on a container"),
    many("--label-file", help="Read in a line delimited file of labels"),
    many(
        "--annotation", metavar="map", help="Add an annotation to the container (passed to the OCI runtime)"
    ),
    text("--platform", help="Set platform if the image has several (os/arch[/variant])"),
    text("--runtime", help="Runtime to use for this container (crun|runc)"),
]
_LIFE: list[Option] = [
    text("--restart", default="no", help="Restart policy: no, always, unless-stopped, on-failure[:max] (no)"),
    switch("--rm", help="Automatically remove the container and its anonymous volumes when it exits"),
    text("--stop-signal", help="Signal to stop the container"),
    number("--stop-timeout", help="Timeout (in seconds) to stop a container"),
    text("--health-cmd", help="Command to run to check health"),
    text("--health-interval", metavar="duration", help="Time between running the check (30s)"),
    text("--health-on-failure", help="Action when unhealthy: none, restart, kill, stop (none)"),
    number("--health-retries", help="Consecutive failures needed to report unhealthy (3)"),
    text("--health-start-interval", metavar="duration", help="Time between checks in the start period (5s)"),
    text("--health-start-period", metavar="duration", help="Time to initialize before failures count (0s)"),
    text("--health-timeout", metavar="duration", help="Maximum time to allow one check to run (30s)"),
    switch("--no-healthcheck", help="Disable any container-specified HEALTHCHECK"),
]
_NETWORK: list[Option] = [
    many("--add-host", help="Add a custom host-to-IP mapping (host:ip)"),
    many("--dns", help="Set custom DNS servers"),
    many("--dns-option", help="Set DNS options"),
    many("--dns-search", help="Set custom DNS search domains"),
    text("--domainname", help="Container NIS domain name"),
    many("--expose", help="Expose a port or a range of ports"),
    text("-h", "--hostname", help="Container host name"),
    text("--ip", metavar="ip", help="IPv4 address (e.g., 172.30.100.104)"),
    text("--ip6", metavar="ip", help="IPv6 address (e.g., 2001:db8::33)"),
    many("--link", help="Add link to another container"),
    many("--link-local-ip", help="Container IPv4/IPv6 link-local addresses"),
    text("--mac-address", help="Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    many("--network", metavar="network", help="Connect a container to a network"),
    many("--network-alias", help="Add network-scoped alias for the container"),
    many("-p", "--publish", help="Publish a container's port(s) to the host"),
    switch("-P", "--publish-all", help="Publish all exposed ports to random ports"),
]
_STORAGE: list[Option] = [
    many("--mount", metavar="mount", help="Attach a filesystem mount to the container"),
    switch("--read-only", help="Mount the container's root filesystem as read only"),
    measure("--shm-size", help="Size of /dev/shm (64m)"),
    many("--storage-opt", help="Storage driver options for the container"),
    many("--tmpfs", help="Mount a tmpfs directory"),
    many("-v", "--volume", help="Bind mount a volume"),
    text("--volume-driver", help="Optional volume driver for the container"),
    many("--volumes-from", help="Mount volumes from the specified container(s)"),
    text("--log-driver", help="Logging driver for the container"),
    many("--log-opt", help="Log driver options"),
]
_LIMITS: list[Option] = [
    number("--blkio-weight", help="Block IO weight, between 10 and 1000, or 0 to disable (0)"),
    many("--blkio-weight-device", help="Block IO weight of a device (path:weight)"),
    text("--cgroup-parent", help="Optional parent cgroup for the container"),
    number("--cpu-period", help="Limit CPU CFS (Completely Fair Scheduler) period"),
    number("--cpu-quota", help="Limit CPU CFS (Completely Fair Scheduler) quota"),
    number("--cpu-rt-period", help="Limit CPU real-time period in microseconds"),
    number("--cpu-rt-runtime", help="Limit CPU real-time runtime in microseconds"),
    number("-c", "--cpu-shares", help="CPU shares (relative weight)"),
    measure("--cpus", metavar="decimal", help="Number of CPUs"),
    text("--cpuset-cpus", help="CPUs in which to allow execution (0-3, 0,1)"),
    text("--cpuset-mems", help="MEMs in which to allow execution (0-3, 0,1)"),
    many("--device-read-bps", help="Limit read rate (bytes per second) from a device"),
    many("--device-read-iops", help="Limit read rate (IO per second) from a device"),
    many("--device-write-bps", help="Limit write rate (bytes per second) to a device"),
    many("--device-write-iops", help="Limit write rate (IO per second) to a device"),
    measure("-m", "--memory", help="Memory limit"),
    measure("--memory-reservation", help="Memory soft limit"),
    measure("--memory-swap", help="Memory plus swap: '-1' to enable unlimited swap"),
    number("--memory-swappiness", help="Tune container memory swappiness (0 to 100)"),
    switch("--oom-kill-disable", help="Disable OOM Killer"),
    number("--oom-score-adj", help="Tune host's OOM preferences (-1000 to 1000)"),
    number("--pids-limit", help="Tune container pids limit (set -1 for unlimited)"),
    many("--ulimit", metavar="ulimit", help="Ulimit options"),
]
_ISOLATION: list[Option] = [
    many("--cap-add", help="Add Linux capabilities"),
    many("--cap-drop", help="Drop Linux capabilities"),
    text("--cgroupns", help="Cgroup namespace to use (host|private|container:NAME)"),
    many("--device", help="Add a host device to the container"),
    many("--device-cgroup-rule", help="Add a rule to the cgroup allowed devices list"),
    many("--gpus", metavar="gpu-request", help="GPU devices to add ('all' to pass all GPUs)"),
    text("--ipc", help="IPC mode to use (none|private|shareable|host|container:NAME)"),
    text("--pid", help="PID namespace to use (host|private|container:NAME)"),
    switch("--privileged", help="Give extended privileges to this container"),
    many("--security-opt", help="Security Options"),
    many("--sysctl", metavar="map", help="Sysctl options"),
    text("--userns", help="User namespace to use (host|auto[:size=N]|remap)"),
    text("--uts", help="UTS namespace to use (host|private|container:NAME)"),
]
_REFUSED: list[Option] = [
    number("--cpu-count", help="CPU count (Windows only)"),
    number("--cpu-percent", help="CPU percent (Windows only)"),
    text("--io-maxbandwidth", metavar="bytes", help="Maximum IO bandwidth (Windows only)"),
    number("--io-maxiops", help="Maximum IOps (Windows only)"),
    text("--isolation", help="Container isolation technology (Windows only; 'default' is accepted)"),
    switch("--use-api-socket", help="Bind mount Docker API socket (not supported)"),
]
_IMAGE: list[Option] = [
    text(
        "--pull", default="missing", help='Pull image before running ("always", "missing", "never") (missing)'
    ),
    switch("-q", "--quiet", help="Suppress the pull output"),
]

create_options = add(
    [
        *_IDENTITY, *_PROCESS, *_LIFE, *_NETWORK, *_STORAGE, *_LIMITS, *_ISOLATION, *_IMAGE, *_REFUSED,
    ]
)  # fmt: skip
"""Options of create, and of run too."""

run_options = add(
    [
        switch("-d", "--detach", help="Run container in background and print container ID"),
        text("--detach-keys", help="Override the key sequence for detaching a container"),
        switch(
            "--sig-proxy/--no-sig-proxy", default=True, help="Proxy received signals to the process (true)"
        ),
    ]
)
"""Options of run alone."""
