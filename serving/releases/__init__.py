"""The versions in a serving folder: which is live, which canary, and what their records say."""
