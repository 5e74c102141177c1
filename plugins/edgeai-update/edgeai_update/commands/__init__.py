"""The commands that this distribution brings (entry points ``edgeai.commands``)."""
