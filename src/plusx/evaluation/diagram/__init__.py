"""Diagrams of networks: what a block is made of, what is drawn of it, and the files that it becomes."""
