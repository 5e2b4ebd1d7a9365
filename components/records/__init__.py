"""JSON documents that one component writes and another, or a report, reads: one module a document."""
