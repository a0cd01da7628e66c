"""The built-in next hop: for trying out, and, by a script of misbehaviours, for the tests."""
