"""Where the files of containers are. The only place that knows the names.

Durable, below `<root>/containerd`:         records, seccomp cache, containers/<id>/ctr.log[.N], volumes/<name>/_data
Of this boot, below `<run>/containerd`:     c/<id>/ (bundle), exits/<id>, rt/ (state of the runtimes), t/ (scratch),
                                            files/<id> (content of secrets and configs), bin/criu (a link)

`c` is a shared mount of its own (see `runtime.sharing`): what is mounted below it reaches every mount namespace, and so
do its removals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The directory of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The OCI configuration."""
        return self.path / "config.json"

    @property
    def rootfs(self) -> Path:
        """Where the root file system is mounted."""
        return self.path / "rootfs"

    @property
    def files(self) -> Path:
        """Where the tmpfs with files given in the specification is mounted."""
        return self.path / "files"

    @property
    def mounts(self) -> Path:
        """Where parts of volumes and images are mounted that the container gets: one place per mount."""
        return self.path / "mounts"

    @property
    def user_namespace(self) -> Path:
        """The file that holds the user namespace of a container with ids of its own."""
        return self.path / "userns"

    @property
    def null(self) -> Path:
        """What crun sees as /dev/null for a container with ids of its own; its directory is a mount."""
        return self.path / "dev" / "null"

    @property
    def lowers(self) -> Path:
        """Where the layers of the image are mounted with the container's ids, for the moment of mounting its root."""
        return self.path / "lowers"

    @property
    def shared_memory(self) -> Path:
        """Where /dev/shm of a container is mounted whose IPC namespace others may join."""
        return self.path / "shm"

    @property
    def pidfile(self) -> Path:
        """Process id of the init, written by the runtime."""
        return self.path / "pidfile"

    @property
    def conmon_pidfile(self) -> Path:
        """Process id of conmon."""
        return self.path / "conmon.pid"

    @property
    def conmon_errors(self) -> Path:
        """What conmon wrote to its standard error."""
        return self.path / "conmon.log"

    @property
    def health(self) -> Path:
        """What the health check runs by."""
        return self.path / "health"

    @property
    def health_pidfile(self) -> Path:
        """Process id of the health check that runs, written by the runtime."""
        return self.health / "pid"

    @property
    def persist(self) -> Path:
        """Where conmon leaves `oom` and `exit`."""
        return self.path / "persist"

    @property
    def oom(self) -> Path:
        """Exists if the kernel killed for memory."""
        return self.persist / "oom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All paths of one daemon."""

    state: Path
    run: Path

    @property
    def database(self) -> Path:
        """The records."""
        return self.state / "state.db"

    @property
    def seccomp_cache(self) -> Path:
        """Compiled filters."""
        return self.state / "seccomp"

    @property
    def containers(self) -> Path:
        """A directory per container for what outlives a run."""
        return self.state / "containers"

    @property
    def volumes(self) -> Path:
        """A directory per volume."""
        return self.state / "volumes"

    @property
    def volume_mounts(self) -> Path:
        """Where volumes are mounted that are no plain directories. Below the shared mount of the bundles."""
        return self.bundles / "volumes"

    @property
    def bundles(self) -> Path:
        """A bundle per container that runs."""
        return self.run / "c"

    @property
    def exits(self) -> Path:
        """Exit files of conmon, one per container."""
        return self.run / "exits"

    @property
    def runtime_root(self) -> Path:
        """State of the OCI runtimes, a directory per container."""
        return self.run / "rt"

    @property
    def contents(self) -> Path:
        """The content of files given in specifications, a file per container."""
        return self.run / "files"

    @property
    def scratch(self) -> Path:
        """What conmon and the runtimes make for a moment, see `runtime.scratch`. A short name: sockets lie in it."""
        return self.run / "t"

    @property
    def programs(self) -> Path:
        """What the runtimes find before what is on the daemon's PATH, see `checkpoint.program`."""
        return self.run / "bin"

    def directory(self, container_id: str) -> Path:
        """Return the durable directory of a container."""
        return self.containers / container_id

    def log(self, container_id: str) -> Path:
        """Return the log file that is being written."""
        return self.containers / container_id / "ctr.log"

    def checkpoints(self, container_id: str) -> Path:
        """Return where a container's checkpoints are, unless somebody wants them elsewhere."""
        return self.containers / container_id / "checkpoints"

    def bundle(self, container_id: str) -> Bundle:
        """Return the bundle of a container."""
        return Bundle(path=self.bundles / container_id)

    def exit_file(self, container_id: str) -> Path:
        """Return the exit file of a container."""
        return self.exits / container_id

    def runtime_state(self, container_id: str) -> Path:
        """Return the runtime's directory of a container."""
        return self.runtime_root / container_id

    def exec_fifo(self, container_id: str) -> Path:
        """Return the fifo on which a created container waits."""
        return self.runtime_root / container_id / "exec.fifo"

    def volume_data(self, name: str) -> Path:
        """Return where the content of a plain volume is."""
        return self.volumes / name / "_data"

    def volume_place(self, name: str) -> Path:
        """Return where the content of a volume is, or will be while it is mounted."""
        plain = self.volume_data(name)
        return plain if plain.parent.is_dir() else self.volume_mounts / name

    def make(self) -> None:
        """Make the directories; only root may enter (CVE-2021-41091)."""
        for directory in (
            self.containers,
            self.volumes,
            self.seccomp_cache,
            self.bundles,
            self.exits,
            self.runtime_root,
            self.scratch,
        ):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
