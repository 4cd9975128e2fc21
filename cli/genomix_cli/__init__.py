"""The command line: argv in, one library call, exit code out."""
