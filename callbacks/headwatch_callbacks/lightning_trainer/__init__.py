"""How a question is put to a model that Lightning trains, on a schedule and without a trace."""
