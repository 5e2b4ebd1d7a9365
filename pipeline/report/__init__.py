"""`runs/<run id>/report.html`: page with the outcome of a run. Reads files, and imports no TensorFlow."""
