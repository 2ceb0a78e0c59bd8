"""One module for each noun, or for a command with much of its own. `cli.tree` names them all."""
