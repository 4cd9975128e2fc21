"""StripedHyena 2: the architecture of Evo 2."""
