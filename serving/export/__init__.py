"""Export of a SavedModel: its signatures, and the requests that warm it up."""
