"""How commands speak: text for people, JSON for machines."""

from enum import StrEnum


class Output(StrEnum):
    """`--output`: JSON goes to standard output alone; progress and errors to standard error."""

    TEXT = "text"
    JSON = "json"
