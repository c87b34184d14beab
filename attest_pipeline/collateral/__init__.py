"""Collateral: Endorsements that a vendor serves. What to ask for, what to believe, how long to keep it. Pure."""
