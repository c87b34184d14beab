"""YAML of documents that the project writes: one text for one document, so that drift can be compared."""

from typing import Any

import msgspec


def yaml_text(value: dict[str, Any] | list[Any], depth: int = 0) -> str:
    """Block-style YAML of mappings and lists; what a list holds, and all text, is written as JSON, which YAML reads."""
    indent = "  " * depth
    if isinstance(value, dict):
        return "".join(f"{indent}{name}:{_member(one, depth + 1)}" for name, one in value.items())
    return "".join(f"{indent}- {msgspec.json.encode(one).decode()}\n" for one in value)


def _member(value: object, depth: int) -> str:
    if isinstance(value, str) and "\n" in value:
        indent = "  " * depth
        return " |\n" + "".join(f"{indent}{line}\n" for line in value.splitlines())
    if isinstance(value, dict | list) and value:
        return "\n" + yaml_text(value, depth)
    return f" {msgspec.json.encode(value).decode()}\n"
