"""The version of this program. A constant, held equal to the project's by a test: reading metadata takes longer than
most commands.
"""

VERSION = "0.1.0"
