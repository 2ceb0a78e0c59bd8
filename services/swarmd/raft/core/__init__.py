"""The algorithm, without input or output. `node.RaftCore` is the way in; events and effects say what goes through it.

The chapters in comments are those of the dissertation; where the design goes another way than the
dissertation, the comment at that place says why.
"""
