"""What is exported: a SavedModel's signatures and the requests that warm it up."""
