"""The commands of a build host, which ``edgeai`` finds by the entry points ``edgeai.commands``."""
