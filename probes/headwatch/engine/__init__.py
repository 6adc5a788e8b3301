"""How a question is answered exactly: every intervention of a sweep, at a cost near its arithmetic."""
