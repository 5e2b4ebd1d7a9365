"""Apache Beam: runners, their arguments and their workers."""
