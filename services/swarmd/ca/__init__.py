"""The swarm's certificate authority: root, certificates, join tokens, renewal. No input or output."""
