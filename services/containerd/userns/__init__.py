"""User namespaces of containers: which ids of the node they get (pure), and the namespaces themselves."""
