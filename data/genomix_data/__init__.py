"""Letters, files and coordinates: alphabets, tokenizers, genomes, intervals, variants, tables and windows."""
