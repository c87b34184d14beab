"""Which lines of the library an input reaches first: what guides the search."""

import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import attest_pipeline

_LIBRARY: Final = str(Path(attest_pipeline.__file__).parent)


class Lines:
    """Counts lines of the library that ran inside its `with`. A function all of whose lines have run costs little."""

    def __init__(self) -> None:
        self._missing: dict[int, set[int]] = {}
        self._codes: list[CodeType] = []  # keeps the ids above from being given out again
        self._before: Any = None
        self.reached = 0

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._on_call)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        del event, argument
        code = frame.f_code
        missing = self._missing.get(id(code))
        if missing is None:
            ours = code.co_filename.startswith(_LIBRARY)
            missing = {line for _, _, line in code.co_lines() if line is not None} if ours else set()
            self._missing[id(code)] = missing
            self._codes.append(code)
        return self._on_line if missing else None

    def _on_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        del argument
        missing = self._missing[id(frame.f_code)]
        if event == "line" and frame.f_lineno in missing:
            missing.discard(frame.f_lineno)
            self.reached += 1
        return self._on_line
