"""The one way to touch a file, on this machine or in a bucket."""
