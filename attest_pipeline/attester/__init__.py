"""The agent's side: submit Evidence, derive challenges."""
