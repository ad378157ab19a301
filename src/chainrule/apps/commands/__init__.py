"""The commands of ``chainrule``, by what they are about; ``apps/cli.py`` puts them together."""
