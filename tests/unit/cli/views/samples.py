"""Objects as the daemons send them."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2 as spec
from beeyard.image.v1 import image_pb2
from beeyard.network.v1 import network_pb2
from beeyard.swarm.v1 import control_pb2
from beeyard.swarm.v1 import objects_pb2 as swarm

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
ID = "0123456789ab" + "c" * 52
IMAGE_ID = "sha256:" + "d" * 64


def before(seconds: float) -> Timestamp:
    """Return a moment so long before NOW."""
    moment = Timestamp()
    moment.FromNanoseconds(int((NOW.timestamp() - seconds) * 1_000_000_000))
    return moment


def container() -> pb.Container:
    """Return a container that uses much of what there is."""
    return pb.Container(
        id=ID,
        name="web",
        created_at=before(7200),
        image_id=IMAGE_ID,
        runtime="crun",
        log_path="/var/lib/beeyard/containerd/c/ctr.log",
        bundle_path="/var/lib/beeyard/containerd/c",
        size_rw_bytes=12,
        size_root_bytes=21_500_000,
        argv=["/bin/server", "--listen", "80", "with a rather long command line"],
        spec=spec.ContainerSpec(
            name="web",
            image="registry.example/team/web:1@sha256:" + "e" * 64,
            entrypoint=["/bin/server"],
            cmd=["--listen", "80"],
            attach_stdout=True,
            attach_stderr=True,
            env=["A=1", "PATH=/bin"],
            user="7:8",
            working_dir="/srv",
            labels={"b": "2", "a": "1"},
            open_stdin=True,
            stop_signal="SIGQUIT",
            stop_grace_ms=3000,
            restart=spec.RestartPolicy(condition=spec.RESTART_CONDITION_ON_FAILURE, max_retries=5),
            health=spec.HealthCheck(test=["CMD", "true"], interval_ms=1500, retries=2),
            resources=spec.Resources(
                memory_bytes=1 << 26,
                nano_cpus=1_500_000_000,
                pids_limit=100,
                ulimits=[spec.Ulimit(name="nofile", soft=1, hard=2)],
                device_read_bps=[spec.DeviceLimit(path="/dev/sda", value=9)],
            ),
            network=spec.Network(
                ports=[spec.PortBinding(host_port=8080, container_port=80, protocol="tcp")],
                expose=["80/tcp", "9000/udp"],
                extra_hosts=["db:10.0.0.1"],
            ),
            mounts=[
                spec.Mount(
                    type=spec.MOUNT_TYPE_BIND,
                    source="/data",
                    target="/srv/data",
                    read_only=True,
                    bind_create_source=True,
                ),
                spec.Mount(type=spec.MOUNT_TYPE_VOLUME, source="a-volume-with-a-name", target="/var"),
                spec.Mount(type=spec.MOUNT_TYPE_BIND, source="/opt", target="/opt", propagation="rslave"),
                spec.Mount(type=spec.MOUNT_TYPE_TMPFS, target="/run", tmpfs_size_bytes=1024),
            ],
            security=spec.Security(
                cap_add=["NET_ADMIN"],
                no_new_privileges=True,
                devices=[spec.Device(host_path="/dev/fuse")],
                sysctls={"net.core.somaxconn": "9"},
            ),
            log=spec.LogConfig(options={"max-size": "1m"}),
        ),
        mount_points=[
            pb.MountPoint(
                type=spec.MOUNT_TYPE_BIND,
                source="/data",
                destination="/srv/data",
                read_only=True,
                propagation="rprivate",
            ),
            pb.MountPoint(
                type=spec.MOUNT_TYPE_VOLUME,
                name="a-volume-with-a-name",
                source="/var/lib/beeyard/containerd/volumes/a-volume-with-a-name/_data",
                destination="/var",
                driver="local",
            ),
            pb.MountPoint(
                type=spec.MOUNT_TYPE_VOLUME,
                name="0" * 64,
                source=f"/var/lib/beeyard/containerd/volumes/{'0' * 64}/_data",
                destination="/anonymous",
                driver="local",
                anonymous=True,
            ),
        ],
        masked_paths=["/proc/kcore"],
        readonly_paths=["/proc/sys"],
        status=pb.ContainerStatus(
            state=pb.CONTAINER_STATE_RUNNING,
            pid=4242,
            started_at=before(7100.5),
            restart_count=1,
            health=pb.Health(
                state=pb.HEALTH_STATE_HEALTHY,
                log=[pb.HealthResult(started_at=before(2), finished_at=before(1), output="ok")],
            ),
            network=pb.NetworkStatus(
                netns_path="/run/beeyard/netd/ns/c",
                endpoints=[
                    pb.EndpointStatus(
                        network="bridge",
                        network_id="f" * 64,
                        id="e" * 64,
                        ip="172.17.0.2",
                        prefix_length=16,
                        gateway="172.17.0.1",
                        mac="02:42:ac:11:00:02",
                        aliases=["web"],
                    )
                ],
                ports=[spec.PortBinding(host_port=8080, container_port=80, protocol="tcp")],
            ),
        ),
    )


def image() -> image_pb2.Image:
    """Return an image with two names."""
    return image_pb2.Image(
        id=IMAGE_ID,
        repo_tags=["web:1", "registry.example:5000/team/web:latest"],
        repo_digests=["web@sha256:" + "e" * 64],
        manifest_digest="sha256:" + "e" * 64,
        created_at=before(86400 * 3),
        size_bytes=21_500_000,
        content_size_bytes=9_000_000,
        diff_ids=["sha256:" + "1" * 64],
        os="linux",
        architecture="amd64",
        author="me",
        comment="imported",
        container_count=2,
        chain_id="sha256:" + "1" * 64,
        tagged_at=before(60),
        config=image_pb2.ImageConfig(
            user="www",
            exposed_ports=["80/tcp"],
            env=["PATH=/bin"],
            cmd=["sh"],
            volumes=["/data"],
            working_dir="/",
            labels={"a": "1"},
            stop_signal="SIGTERM",
            healthcheck=image_pb2.HealthConfig(test=["CMD", "true"], interval_ms=1000),
        ),
    )


def network() -> network_pb2.Network:
    """Return a network with an endpoint."""
    return network_pb2.Network(
        id="a" * 64,
        spec=network_pb2.NetworkSpec(
            name="back",
            driver="bridge",
            labels={"a": "1"},
            options={"mtu": "1400"},
            internal=True,
            pools=[
                network_pb2.IpamPool(
                    subnet="10.9.0.0/24",
                    gateway="10.9.0.1",
                    ip_range="10.9.0.128/25",
                    reserved={"x": "10.9.0.9"},
                )
            ],
        ),
        scope=network_pb2.NETWORK_SCOPE_LOCAL,
        created_at=before(3600),
        interface="by-aaaa",
        endpoints=[
            network_pb2.NetworkEndpoint(
                id="b" * 64, sandbox_id=ID, name="web", address="10.9.0.2/24", mac="02:42:0a:09:00:02"
            )
        ],
    )


def node() -> swarm.Node:
    """Return a manager."""
    return swarm.Node(
        id="n" * 25,
        meta=swarm.Meta(version=7, created_at=before(9000), updated_at=before(100)),
        spec=swarm.NodeSpec(
            annotations=swarm.Annotations(labels={"zone": "a"}),
            role=swarm.NODE_ROLE_MANAGER,
            availability=swarm.NODE_AVAILABILITY_DRAIN,
        ),
        role=swarm.NODE_ROLE_MANAGER,
        description=swarm.NodeDescription(
            hostname="manager-1",
            os="linux",
            architecture="x86_64",
            engine_version="0.1.0",
            resources=swarm.NodeResources(nano_cpus=2_000_000_000, memory_bytes=1 << 33),
        ),
        status=swarm.NodeStatus(state=swarm.NODE_STATE_READY, address="10.0.0.1"),
        manager=swarm.ManagerStatus(address="10.0.0.1:2377", leader=True, reachable=True),
    )


def service() -> control_pb2.ServiceWithCounts:
    """Return a service that was updated."""
    task = swarm.TaskSpec(
        container=spec.ContainerSpec(
            image="web:1@sha256:" + "e" * 64,
            cmd=["serve"],
            env=["A=1"],
            resources=spec.Resources(memory_bytes=1 << 26, nano_cpus=500_000_000),
        ),
        placement=swarm.Placement(constraints=["node.role==worker"], spread_over=["node.labels.zone"]),
    )
    return control_pb2.ServiceWithCounts(
        running_tasks=2,
        desired_tasks=3,
        service=swarm.Service(
            id="s" * 25,
            meta=swarm.Meta(version=9, created_at=before(500), updated_at=before(100)),
            spec=swarm.ServiceSpec(
                annotations=swarm.Annotations(name="web", labels={"team": "x"}),
                task=task,
                mode=swarm.ServiceMode(replicated=swarm.ReplicatedMode(replicas=3)),
                endpoint=swarm.EndpointSpec(
                    ports=[swarm.PublishedPort(protocol="tcp", target_port=80, published_port=8080)]
                ),
            ),
            previous_spec=swarm.ServiceSpec(annotations=swarm.Annotations(name="web")),
            endpoint=swarm.ServiceEndpoint(
                ports=[swarm.PublishedPort(protocol="tcp", target_port=80, published_port=8080)]
            ),
            update_status=swarm.UpdateStatus(
                state=swarm.UPDATE_STATE_COMPLETED,
                started_at=before(90),
                completed_at=before(80),
                message="update completed",
            ),
        ),
    )


def task(slot: int, state: swarm.TaskState.ValueType, age: float, error: str = "") -> swarm.Task:
    """Return a task of a service."""
    return swarm.Task(
        id=f"{slot}{state}".ljust(25, "t"),
        meta=swarm.Meta(version=9, created_at=before(age), updated_at=before(age)),
        service_annotations=swarm.Annotations(name="web"),
        service_id="s" * 25,
        slot=slot,
        node_id="n" * 25,
        spec=swarm.TaskSpec(container=spec.ContainerSpec(image="web:1@sha256:" + "e" * 64)),
        desired_state=swarm.TASK_STATE_RUNNING if not error else swarm.TASK_STATE_SHUTDOWN,
        status=swarm.TaskStatus(
            since=before(age),
            state=state,
            error=error,
            ports=[
                swarm.PublishedPort(target_port=80, published_port=8080, mode=swarm.PUBLISH_MODE_HOST),
                swarm.PublishedPort(target_port=81, published_port=8081, mode=swarm.PUBLISH_MODE_INGRESS),
            ],
        ),
    )
