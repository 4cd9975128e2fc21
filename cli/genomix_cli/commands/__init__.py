"""One thin file a verb. Each has a function ``command`` that Typer reads; heavy imports stand inside it."""
