"""How fast whole models are on this machine, and how much memory they take."""
