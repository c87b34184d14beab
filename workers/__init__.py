"""The processes: settings, adapters, one library call each."""
