"""``chainrule bench``: how fast, beside whom, how near to the machine's limit, and where the time goes."""
