"""All that touches a network: where each named activation lives, hooks that reach it, and what a run leaves."""
