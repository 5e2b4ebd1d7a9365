"""The folder of a user's runs: what is in it, its database, its disk, and what mends it."""
