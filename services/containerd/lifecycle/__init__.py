"""The life of a container: a pure automaton, the shell that performs what it decides, and recovery after a crash."""
