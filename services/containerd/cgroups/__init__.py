"""Control groups: where they are, what their files say, freezing and killing what is in one."""
