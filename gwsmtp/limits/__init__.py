"""The shared table: what all processes of one gateway count and see together."""
