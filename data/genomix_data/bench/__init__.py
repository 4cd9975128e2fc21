"""Measurements of the data layer; never imported by anything but the command line."""
