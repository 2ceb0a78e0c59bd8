"""What the layers below a call raise; callers of the transport see `services.kit.errors` only."""


class ProtocolError(Exception):
    """The other side does not keep to the protocol: the connection is of no use any more."""
