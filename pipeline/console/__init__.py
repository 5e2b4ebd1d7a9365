"""Terminal of a command: printing, muting of libraries, and Ctrl-C."""
