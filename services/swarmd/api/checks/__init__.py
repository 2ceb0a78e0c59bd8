"""What a user may ask for. Pure and total: every spec is accepted, or refused with an error that names the field.

What only a node can know (whether a device, a volume driver or a directory is there) is found out there, and becomes
the reason in the task's status.
"""
