"""What of an installation works: checks that each say what they found and what to do, for the command and the node.

Nothing slow is imported before a check needs it, and a check that fails is a finding too: whoever asks has a problem.
"""
