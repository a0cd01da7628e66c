"""The children of the master: how one is born, and one ``main`` for each role."""
