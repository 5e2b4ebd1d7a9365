"""`runs/<run id>/report.html`: one page that says what came of a run. Reads files, and imports no TensorFlow."""
