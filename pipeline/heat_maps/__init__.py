"""Heat maps drawn over photographs."""
