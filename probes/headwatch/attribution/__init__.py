"""How a question is answered to first order: all heads for two forwards and one backward."""
