"""Pure values of the image world: no I/O, no clock, nothing that fails other than with a named error."""
