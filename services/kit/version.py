"""The version of the project. A constant, held equal to the package's by a test.

Reading metadata takes longer than most commands, and the modules for it 2.7 MB of each daemon.
"""

VERSION = "0.1.0"
