"""Messages, effects and states as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from services.swarmd.raft.core import effects, messages
from services.swarmd.raft.core.membership import Config
from services.swarmd.raft.core.node import Status
from services.swarmd.raft.core.types import Entry, EntryKind


def entry(value: Entry) -> str:
    if value.kind is EntryKind.CONFIG:
        assert value.config is not None
        what = config(value.config)
    else:
        what = value.data.decode() or "-"
    return f"{value.index}/{value.term} {what}"


def entries(values: Sequence[Entry]) -> str:
    return "[" + ", ".join(entry(value) for value in values) + "]"


def config(value: Config) -> str:
    text = "voters " + (",".join(map(str, value.voters)) or "none")
    if value.learners:
        text += " learners " + ",".join(map(str, value.learners))
    if value.removed:
        text += " removed " + ",".join(map(str, value.removed))
    return f"({text})"


def message(value: messages.Message) -> str:
    head = f"{value.sender}->{value.to} {type(value).__name__} t{value.term}"
    match value:
        case messages.VoteRequest():
            flags = (" pre" if value.pre else "") + (" transfer" if value.transfer else "")
            return f"{head}{flags} last {value.last_index}/{value.last_term}"
        case messages.VoteResponse():
            return f"{head}{' pre' if value.pre else ''} {'granted' if value.granted else 'denied'}"
        case messages.AppendRequest():
            return f"{head} after {value.prev_index}/{value.prev_term} commit {value.commit} {entries(value.entries)}"
        case messages.AppendResponse():
            if value.rejected:
                return f"{head} not {value.index}, perhaps {value.hint_index}/{value.hint_term}"
            return f"{head} has {value.index}"
        case messages.Heartbeat():
            return f"{head} commit {value.commit} round {value.read_round}"
        case messages.HeartbeatResponse():
            return f"{head} round {value.read_round}"
        case messages.InstallSnapshot():
            meta = value.snapshot.meta
            return f"{head} {meta.index}/{meta.term} {config(meta.config)}"
        case messages.TimeoutNow():
            return head
        case messages.ReadRequest():
            return f"{head} request {value.request_id}"
        case messages.ReadResponse():
            return f"{head} request {value.request_id} at {value.index}"


def effect(value: effects.Effect) -> str:
    match value:
        case effects.Persist():
            state = value.hard_state
            text = f"persist #{value.sequence} term {state.term} vote {state.vote} commit {state.commit}"
            if value.snapshot is not None:
                text += f" snapshot {value.snapshot.meta.index}/{value.snapshot.meta.term}"
            if value.entries:
                text += f" {entries(value.entries)}"
            return text if value.sync else f"{text} no sync"
        case effects.Send():
            return f"send {message(value.message)}" + (f" after #{value.after}" if value.after else "")
        case effects.SendSnapshot():
            return f"send snapshot {value.meta.index}/{value.meta.term} to {value.to} t{value.term}"
        case effects.Apply():
            return f"apply {entries(value.entries)}"
        case effects.Restore():
            return f"restore {value.snapshot.meta.index}/{value.snapshot.meta.term}"
        case effects.Accepted():
            return f"accepted request {value.request_id} at {value.index}/{value.term}"
        case effects.Refused():
            cause = f": {value.cause}" if value.cause else ""
            return f"refused request {value.request_id}, {value.reason.value}, leader {value.leader}{cause}"
        case effects.ReadReady():
            return f"read {value.request_id} may be served at {value.index}"
        case effects.RoleChanged():
            return f"{value.role.value} t{value.term} leader {value.leader}"
        case effects.ConfigChanged():
            return f"config {config(value.config)}"
        case effects.Removed():
            return "removed"


def status(value: Status) -> str:
    head = (
        f"{value.id}: {value.role.value} t{value.term} vote {value.vote} leader {value.leader} "
        f"log {value.first_index}-{value.last_index} stable {value.stable} commit {value.commit} "
        f"applied {value.applied} {config(value.config)}"
    )
    lines = [head]
    lines += [f"   {peer.id}: {peer.pace.value} match {peer.match} next {peer.next}" for peer in value.peers]
    return "\n".join(lines)
