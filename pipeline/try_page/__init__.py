"""The page of `./graft try`: a server on this machine that hands images of a browser to a model server."""
