"""Store of computed rows by image digest, on disk or in a bucket, so that no image is computed twice."""
