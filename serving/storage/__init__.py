"""File access, on this machine or in a store such as gs://."""
