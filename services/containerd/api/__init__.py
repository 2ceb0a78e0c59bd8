"""The gRPC services: protobuf to model and back, and nothing that decides."""
