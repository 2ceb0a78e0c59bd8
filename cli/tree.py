"""Every command by name: the module that has it, and the line that help shows. The one place to add a command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from cli.app import DEBUG, PROGRAM, SETTINGS, LazyGroup
from cli.version import VERSION

if TYPE_CHECKING:
    from cli.session import Session

CONTAINER = {
    "attach": ("cli.commands.attach:attach", "Attach local standard streams to a running container"),
    "commit": ("cli.commands.observe:commit", "Create a new image from a container's changes"),
    "cp": ("cli.commands.copy:cp", "Copy files/folders between a container and the local filesystem"),
    "create": ("cli.commands.run:create", "Create a new container"),
    "diff": ("cli.commands.observe:diff", "Inspect changes to files on a container's filesystem"),
    "exec": ("cli.commands.exec:execute", "Execute a command in a running container"),
    "export": ("cli.commands.copy:export", "Export a container's filesystem as a tar archive"),
    "healthcheck": ("cli.commands.container:healthcheck", "Run the health check of a container now"),
    "inspect": ("cli.commands.container:inspect", "Display detailed information on containers"),
    "kill": ("cli.commands.container:kill", "Kill running containers"),
    "list": ("cli.commands.container:ls", ""),
    "logs": ("cli.commands.logs:logs", "Fetch the logs of a container"),
    "ls": ("cli.commands.container:ls", "List containers"),
    "move": ("cli.commands.move:move", "Move a container to another node of the swarm"),
    "pause": ("cli.commands.container:pause", "Pause all processes within containers"),
    "port": ("cli.commands.container:port", "List port mappings of a container"),
    "prune": ("cli.commands.container:prune", "Remove all stopped containers"),
    "ps": ("cli.commands.container:ls", ""),
    "release": ("cli.commands.move:release", "Let go of a container that a lost move holds"),
    "rename": ("cli.commands.container:rename", "Rename a container"),
    "restart": ("cli.commands.container:restart", "Restart containers"),
    "rm": ("cli.commands.container:rm", "Remove containers"),
    "remove": ("cli.commands.container:rm", ""),
    "run": ("cli.commands.run:run", "Create and run a new container from an image"),
    "start": ("cli.commands.start:start", "Start stopped containers"),
    "stats": ("cli.commands.stats:stats", "Display a live stream of resource usage statistics"),
    "stop": ("cli.commands.container:stop", "Stop running containers"),
    "top": ("cli.commands.observe:top", "Display the running processes of a container"),
    "unpause": ("cli.commands.container:unpause", "Unpause all processes within containers"),
    "update": ("cli.commands.update:update", "Update configuration of containers"),
    "wait": ("cli.commands.container:wait", "Block until containers stop, then print their exit codes"),
}
IMAGE = {
    "history": ("cli.commands.image:history", "Show the history of an image"),
    "import": ("cli.commands.image_transfer:import_", "Import a tarball to create a filesystem image"),
    "inspect": ("cli.commands.image:inspect", "Display detailed information on images"),
    "list": ("cli.commands.image:ls", ""),
    "load": ("cli.commands.image_transfer:load", "Load images from a tar archive or standard input"),
    "ls": ("cli.commands.image:ls", "List images"),
    "prune": ("cli.commands.image:prune", "Remove unused images"),
    "pull": ("cli.commands.image_transfer:pull", "Get an image from a node of the swarm"),
    "rm": ("cli.commands.image:rm", "Remove images"),
    "remove": ("cli.commands.image:rm", ""),
    "save": ("cli.commands.image_transfer:save", "Save images to a tar archive"),
    "tag": ("cli.commands.image:tag", "Create a tag that refers to an image"),
}
NETWORK = {
    "connect": ("cli.commands.network:connect", "Connect a container to a network"),
    "create": ("cli.commands.network:create", "Create a network"),
    "disconnect": ("cli.commands.network:disconnect", "Disconnect a container from a network"),
    "inspect": ("cli.commands.network:inspect", "Display detailed information on networks"),
    "list": ("cli.commands.network:ls", ""),
    "ls": ("cli.commands.network:ls", "List networks"),
    "prune": ("cli.commands.network:prune", "Remove all unused networks"),
    "rm": ("cli.commands.network:rm", "Remove networks"),
    "remove": ("cli.commands.network:rm", ""),
}
NODE = {
    "demote": ("cli.commands.node:demote", "Demote nodes from manager in the swarm"),
    "inspect": ("cli.commands.node:inspect", "Display detailed information on nodes"),
    "list": ("cli.commands.node:ls", ""),
    "ls": ("cli.commands.node:ls", "List nodes in the swarm"),
    "promote": ("cli.commands.node:promote", "Promote nodes to manager in the swarm"),
    "ps": ("cli.commands.node:ps", "List tasks running on nodes, default is the current node"),
    "rm": ("cli.commands.node:rm", "Remove nodes from the swarm"),
    "remove": ("cli.commands.node:rm", ""),
    "update": ("cli.commands.node:update", "Update a node"),
}
SERVICE = {
    "create": ("cli.commands.service_create:create", "Create a new service"),
    "inspect": ("cli.commands.service:inspect", "Display detailed information on services"),
    "list": ("cli.commands.service:ls", ""),
    "logs": ("cli.commands.service_logs:logs", "Fetch the logs of a service or task"),
    "ls": ("cli.commands.service:ls", "List services"),
    "ps": ("cli.commands.service:ps", "List the tasks of services"),
    "rm": ("cli.commands.service:rm", "Remove services"),
    "remove": ("cli.commands.service:rm", ""),
    "rollback": ("cli.commands.service_scale:rollback", "Revert changes to a service's configuration"),
    "scale": ("cli.commands.service_scale:scale", "Scale replicated services"),
    "update": ("cli.commands.service_update:update", "Update a service"),
}
SWARM = {
    "init": ("cli.commands.swarm:init", "Initialize a swarm"),
    "join": ("cli.commands.swarm:join", "Join a swarm as a node and/or manager"),
    "join-token": ("cli.commands.swarm:join_token", "Manage join tokens"),
    "leave": ("cli.commands.swarm:leave", "Leave the swarm"),
    "update": ("cli.commands.swarm:update", "Update the swarm"),
}
SYSTEM = {
    "df": ("cli.commands.system_df:df", "Show disk usage"),
    "events": ("cli.commands.events:events", "Get real time events from the engine"),
    "info": ("cli.commands.system:info", "Display system-wide information"),
    "prune": ("cli.commands.system_prune:prune", "Remove unused data"),
}
SECRET = {
    "create": ("cli.commands.secret:create", "Create a secret from a file or STDIN"),
    "inspect": ("cli.commands.secret:inspect", "Display detailed information on secrets"),
    "list": ("cli.commands.secret:ls", ""),
    "ls": ("cli.commands.secret:ls", "List secrets"),
    "rm": ("cli.commands.secret:rm", "Remove secrets"),
    "remove": ("cli.commands.secret:rm", ""),
}
CHECKPOINT = {
    "create": ("cli.commands.checkpoint:create", "Create a checkpoint from a running container"),
    "list": ("cli.commands.checkpoint:ls", ""),
    "ls": ("cli.commands.checkpoint:ls", "List checkpoints for a container"),
    "remove": ("cli.commands.checkpoint:rm", ""),
    "rm": ("cli.commands.checkpoint:rm", "Remove a checkpoint"),
}
CONFIG = {
    "create": ("cli.commands.config:create", "Create a config from a file or STDIN"),
    "inspect": ("cli.commands.config:inspect", "Display detailed information on configs"),
    "list": ("cli.commands.config:ls", ""),
    "ls": ("cli.commands.config:ls", "List configs"),
    "rm": ("cli.commands.config:rm", "Remove configs"),
    "remove": ("cli.commands.config:rm", ""),
}
CONTEXT = {
    "create": ("cli.commands.context:create", "Create a context"),
    "export": ("cli.commands.context:export", "Export a context to a file"),
    "import": ("cli.commands.context:import_", "Import a context from a file"),
    "inspect": ("cli.commands.context:inspect", "Display detailed information on contexts"),
    "list": ("cli.commands.context:ls", ""),
    "ls": ("cli.commands.context:ls", "List contexts"),
    "rm": ("cli.commands.context:rm", "Remove contexts"),
    "remove": ("cli.commands.context:rm", ""),
    "show": ("cli.commands.context:show", "Print the name of the current context"),
    "update": ("cli.commands.context:update", "Update a context"),
    "use": ("cli.commands.context:use", "Set the current context"),
}
VOLUME = {
    "clone": ("cli.commands.volume:clone", "Make a new volume with the content of another one"),
    "create": ("cli.commands.volume:create", "Create a volume"),
    "export": ("cli.commands.volume:export", "Export a volume's content as a tar archive"),
    "import": ("cli.commands.volume:import_", "Unpack a tar archive into a new or empty volume"),
    "inspect": ("cli.commands.volume:inspect", "Display detailed information on volumes"),
    "list": ("cli.commands.volume:ls", ""),
    "ls": ("cli.commands.volume:ls", "List volumes"),
    "prune": ("cli.commands.volume:prune", "Remove unused local volumes"),
    "rm": ("cli.commands.volume:rm", "Remove volumes"),
    "remove": ("cli.commands.volume:rm", ""),
}
GROUPS = {
    "checkpoint": (CHECKPOINT, "Manage checkpoints"),
    "config": (CONFIG, "Manage swarm configs"),
    "container": (CONTAINER, "Manage containers"),
    "context": (CONTEXT, "Manage contexts"),
    "image": (IMAGE, "Manage images"),
    "network": (NETWORK, "Manage networks"),
    "node": (NODE, "Manage swarm nodes"),
    "secret": (SECRET, "Manage swarm secrets"),
    "service": (SERVICE, "Manage swarm services"),
    "swarm": (SWARM, "Manage the swarm"),
    "system": (SYSTEM, "Manage the engine"),
    "volume": (VOLUME, "Manage volumes"),
}
SHORT = {
    **{
        name: entry
        for name, entry in CONTAINER.items()
        if name not in ("inspect", "list", "ls", "move", "prune", "release", "remove")
    },
    "events": SYSTEM["events"],
    "completion": ("cli.commands.completion:completion", "Print the completion script for a shell"),
    "help": ("cli.commands.help:help_", ""),
    "history": IMAGE["history"],
    "images": IMAGE["ls"],
    "import": IMAGE["import"],
    "info": SYSTEM["info"],
    "inspect": ("cli.commands.inspect:inspect", "Return low-level information on objects"),
    "load": IMAGE["load"],
    "ps": CONTAINER["ls"],
    "pull": IMAGE["pull"],
    "rmi": IMAGE["rm"],
    "save": IMAGE["save"],
    "tag": IMAGE["tag"],
    "version": ("cli.commands.system:version", "Show the version information"),
}


def root() -> click.Group:
    """Build the tree: groups and names only, no command is imported."""
    lazy = dict(SHORT)
    lazy.update({name: (f"cli.tree:{name}_group", text) for name, (_, text) in GROUPS.items()})

    @click.command(cls=LazyGroup, lazy=lazy, context_settings=SETTINGS, no_args_is_help=True)
    @click.option("--config", default="", metavar="string", help="Location of the client's contexts")
    @click.option(
        "-c", "--context", "context_name", default="", metavar="string", help="Name of the context to use"
    )
    @click.option("-D", "--debug", is_flag=True, help="Show tracebacks of errors")
    @click.option("-H", "--host", default="", metavar="string", help="unix:///dir or tcp://manager:2377[,…]")
    @click.option(
        "--node", default="", metavar="string", help="Act on this node of the swarm (id or host name)"
    )
    @click.version_option(VERSION, prog_name=PROGRAM)
    @click.pass_context
    def swarmctl(
        ctx: click.Context, config: str, context_name: str, host: str, node: str, *, debug: bool
    ) -> None:
        """Containers on this host, services across a swarm: docker's commands, on Beeyard."""
        if config:
            os.environ["BEEYARD_CONFIG"] = config
        if debug:
            os.environ[DEBUG] = "1"

        def session() -> Session:
            from cli import target
            from cli.session import Session

            return Session(target=target.resolve(host=host, context=context_name), node=node)

        ctx.obj = session

    return swarmctl


def _group(name: str) -> click.Group:
    lazy, text = GROUPS[name]
    return LazyGroup(name=name, lazy=lazy, help=text, context_settings=SETTINGS, no_args_is_help=True)


def __getattr__(name: str) -> click.Group:
    """Groups are made when one is asked for: `container_group`, …"""
    if name.endswith("_group") and name.removesuffix("_group") in GROUPS:
        return _group(name.removesuffix("_group"))
    raise AttributeError(name)
