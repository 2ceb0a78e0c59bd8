"""From command-line text to specification messages. Pure, but for files that the user names (env files)."""
