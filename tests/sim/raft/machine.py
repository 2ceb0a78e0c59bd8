"""The state machine of the simulation: a few registers, and a fingerprint of everything that was ever applied."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a client wants done to a register."""

    operation_id: int
    key: str
    kind: str
    """`write` or `cas`."""
    value: int
    expected: int = 0

    def encode(self) -> bytes:
        return f"{self.operation_id} {self.key} {self.kind} {self.value} {self.expected}".encode()

    @staticmethod
    def decode(data: bytes) -> Command:
        operation_id, key, kind, value, expected = data.decode().split()
        return Command(
            operation_id=int(operation_id), key=key, kind=kind, value=int(value), expected=int(expected)
        )


class Registers:
    """Registers that begin at 0."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.applied: list[int] = []
        """The ids of all operations, in the order in which they were applied."""
        self.fingerprint = ""

    def apply(self, index: int, data: bytes) -> bool:
        """Do what a command says; tell whether it had an effect."""
        command = Command.decode(data)
        self.fingerprint = hashlib.blake2b(
            f"{self.fingerprint} {index} ".encode() + data, digest_size=8
        ).hexdigest()
        self.applied.append(command.operation_id)
        if command.kind == "cas" and self.values.get(command.key, 0) != command.expected:
            return False
        self.values[command.key] = command.value
        return True

    def snapshot(self) -> bytes:
        return json.dumps([self.values, self.applied, self.fingerprint], sort_keys=True).encode()

    def restore(self, data: bytes) -> None:
        self.values, self.applied, self.fingerprint = json.loads(data)
