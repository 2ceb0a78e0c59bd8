"""swarmctl exec"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import api, complete, terminal
from cli.command import command, with_session
from cli.commands import foreground
from cli.errors import EXIT_FAILED
from cli.locate import locate
from cli.specs import values
from cli.specs.options import add, many, switch, text
from cli.streams import Joined
from services.kit import errors

if TYPE_CHECKING:
    from cli.session import Session
    from cli.transport.call import Call

_OPTIONS = [
    switch("-d", "--detach", help="Detached mode: run command in the background"),
    text("--detach-keys", help="Override the key sequence for detaching a container"),
    many("-e", "--env", help="Set environment variables"),
    many("--env-file", help="Read in a file of environment variables"),
    switch("-i", "--interactive", help="Keep STDIN open even if not attached"),
    switch("--privileged", help="Give extended privileges to the command"),
    switch("-t", "--tty", help="Allocate a pseudo-TTY"),
    text("-u", "--user", help="Username or UID (format: <name|uid>[:<group|gid>])"),
    text("-w", "--workdir", help="Working directory inside the container"),
]


@command("exec", positional_ends_options=True, failure_code=EXIT_FAILED)
@add(_OPTIONS)
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@click.argument("command", metavar="COMMAND [ARG...]", nargs=-1, required=True, type=click.UNPROCESSED)
@with_session
def execute(session: Session, container: str, command: tuple[str, ...], **given: Any) -> int:
    """Execute a command in a running container, or in a task of the swarm by its name."""
    stdin = given["interactive"] and not given["detach"]
    environment = values.environment(given["env"], given["env_file"])
    session, found = locate(session, container)
    if given["tty"] and stdin and not terminal.is_terminal(terminal.STDIN):
        raise values.invalid("the input device is not a TTY")
    spec = pb.ExecSpec(
        container=found.id,
        argv=command,
        env=environment,
        user=given["user"],
        working_dir=given["workdir"],
        tty=given["tty"],
        stdin=stdin,
        privileged=given["privileged"],
        detach=given["detach"],
        detach_keys=given["detach_keys"],
    )
    size = terminal.size()
    if spec.tty and size is not None:
        spec.size.CopyFrom(size)
    call = _start(session, spec)
    if spec.detach:
        return 0
    channel = session.channel("containerd")
    ending = Joined(channel, call, pb.ExecRequest, stdin=stdin, tty=spec.tty, kill=None).run()
    if ending is None:
        print("read escape sequence", file=sys.stderr)
        return 1
    return foreground.exit_code(ending)


def _start(session: Session, spec: pb.ExecSpec) -> Call[pb.ExecRequest, pb.ExecResponse]:
    call = session.start(api.Containers.Exec)
    call.post(pb.ExecRequest(spec=spec))
    for response in call:
        if response.WhichOneof("part") == "started":
            return call
        break
    raise errors.Internal("the daemon did not start the command", reason="STREAM_CUT")
