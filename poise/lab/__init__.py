"""The lab: figures that the library computes and a page, a notebook or a file draws."""
