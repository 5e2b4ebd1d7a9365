"""Rows on disk or in a bucket, found by the digest of an image: what need not be computed again."""
