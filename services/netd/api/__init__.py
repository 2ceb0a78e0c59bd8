"""The gRPC face: messages to values and back. It decides nothing."""
