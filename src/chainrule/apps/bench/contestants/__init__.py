"""Who takes part in a race, and in what. Imports nothing of chainrule but in ``ours``: peers run where it is not installed."""
