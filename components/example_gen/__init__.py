"""ExampleGen: turns a folder of images into examples in three splits, without duplicates."""
