"""The one preprocessing graph, which the training reads through and the servers have in them."""
