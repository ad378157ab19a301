"""Programs that measure one thing closely, and the results of races; races themselves are ``chainrule bench``."""
