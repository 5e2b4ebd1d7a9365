"""JSON documents that one component writes and another component or a report reads: one module a document."""
