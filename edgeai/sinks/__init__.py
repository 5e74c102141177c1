"""The built-in sinks, through the same hook as anyone's."""
