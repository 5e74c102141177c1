"""One process each; they meet only at the spool."""

PARENT = "EDGEAI_SUPERVISOR_PID"
"""Environment of a role: die with the process of this number."""

SUPERVISOR = "supervise"
STOPPING = "stopping"
"""The supervisor's state, in its note, from before it asks the first role to end."""
