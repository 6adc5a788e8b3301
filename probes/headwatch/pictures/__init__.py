"""How results are drawn: colours, maps with one cell a head, attention maps. Draws arrays; knows no model."""
