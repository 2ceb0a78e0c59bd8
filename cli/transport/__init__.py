"""gRPC for the command line: a client of its own, because importing grpcio alone takes longer than most commands."""
