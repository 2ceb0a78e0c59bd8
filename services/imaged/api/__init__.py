"""The services of beeyard.image.v1 and beeyard.system.v1: protobuf to model and back, and nothing else."""
