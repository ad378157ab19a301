"""Programs: the command line (``chainrule``) and the demo (``make demo``)."""
