"""Finds the objects of a JSON array in text that streams in, also where the JSON is not quite right.

A state machine of one character at a time, so that pieces read like the whole. An unescaped quote ends a text only
where JSON could go on after it: before `}`, before the next object, or before a key. Otherwise it belongs to the
text. What follows such a quote is kept until that is known, and read again if it was not the end; every character is
read a bounded number of times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
HEX = frozenset("0123456789abcdefABCDEF")
NOTHING = frozenset({"null", "None"})
MAX_KEY = 64  # letters; what goes on for longer after a quote, or has brackets, is not a key


class State(Enum):
    """Where in the array the reader is."""

    BEFORE = auto()  # the array, in whatever the model says first
    OPENED = auto()  # after a bracket that may be the array's
    BETWEEN = auto()  # objects
    OBJECT = auto()  # before a key, or the end of the object
    KEY = auto()
    COLON = auto()
    VALUE = auto()  # before it
    BARE = auto()  # a number, null, or something nested
    TEXT = auto()
    ESCAPE = auto()  # after a backslash in a text
    QUOTED = auto()  # after a quote in a text: was it the end?
    NEXT_KEY = auto()  # in what may be the key after that quote
    NEXT_COLON = auto()
    AFTER = auto()  # the array


class ObjectReader:
    """Text in, objects out: each the texts of its values by key, free of JSON's escapes."""

    def __init__(self, listens: Callable[[str], bool]) -> None:
        """`listens(key)` says whether the text under that key is wanted in `heard` while it grows."""
        self.state = State.BEFORE
        self.broken = 0  # objects that could not be read
        self.heard: list[str] = []  # characters of the wanted texts, a newline after each text and nowhere else
        self._listens = listens
        self._listening = False
        self._inside = False  # the array
        self._found: list[dict[str, str]] = []
        self._values: dict[str, str] = {}
        self._key = ""
        self._letters: list[str] = []  # of the key that is being read
        self._skip = False  # a backslash stood before
        self._value: list[str] = []
        self._depth = 0  # of brackets in a bare value
        self._escape = ""
        self._kept: list[str] = []  # what followed a quote that may be the end of a text
        self._comma = False  # among it
        self._steps: dict[State, Callable[[str], bool]] = {
            State.BEFORE: self._before,
            State.OPENED: self._opened,
            State.BETWEEN: self._between,
            State.OBJECT: self._object,
            State.KEY: self._in_key,
            State.COLON: self._colon,
            State.VALUE: self._before_value,
            State.BARE: self._bare,
            State.TEXT: self._text,
            State.ESCAPE: self._escaped,
            State.QUOTED: self._quoted,
            State.NEXT_KEY: self._next_key,
            State.NEXT_COLON: self._next_colon,
        }

    def feed(self, text: str) -> list[dict[str, str]]:
        """Read on; the objects that are complete now."""
        waiting = deque(text)
        while waiting and self.state is not State.AFTER:
            character = waiting.popleft()
            if self._steps[self.state](character):
                continue
            if self._kept:  # the quote did not end it: read again what followed
                waiting.extendleft(reversed(self._kept))
                self._kept.clear()
            else:
                waiting.appendleft(character)
        found, self._found = self._found, []
        return found

    # Each step takes a character in one state. False: it changed the state and leaves the character to the next one.

    def _before(self, character: str) -> bool:
        """Before the list: wait for it, or for an object without one."""
        if character == "[":
            self.state = State.OPENED
        elif character == "{":
            self._begin()
        return True

    def _opened(self, character: str) -> bool:
        """Within the list: its first object, or its end."""
        if character == "]":
            self.state = State.AFTER
        elif character == "{":
            self._inside = True
            self._begin()
        elif not character.isspace():
            self.state = State.BEFORE
            return False
        return True

    def _between(self, character: str) -> bool:
        """Between two objects."""
        if character == "{":
            self._begin()
        elif character == "]":
            self.state = State.AFTER
        return True

    def _object(self, character: str) -> bool:
        """Within an object: its next key, or its end."""
        if character == '"':
            self._letters.clear()
            self.state = State.KEY
        elif character == "}":
            self._end()
        elif character != "," and not character.isspace():
            return self._give_up()
        return True

    def _in_key(self, character: str) -> bool:
        """Within a key."""
        if self._ends_key(character):
            self._key = "".join(self._letters)
            self.state = State.COLON
        return True

    def _colon(self, character: str) -> bool:
        """Between a key and its value."""
        if character == ":":
            self.state = State.VALUE
        elif not character.isspace():
            return self._give_up()
        return True

    def _before_value(self, character: str) -> bool:
        """Before a value, which is a text or something bare."""
        if character.isspace():
            return True
        self._value.clear()
        self._depth = 0
        self._listening = character == '"' and self._listens(self._key)
        self.state = State.TEXT if character == '"' else State.BARE
        return character == '"'

    def _bare(self, character: str) -> bool:
        """Within a value that is not text, which ends with its object or with a comma."""
        if self._depth == 0 and character in ',}"':  # a quote: a comma was forgotten
            bare = "".join(self._value).strip()
            self._values[self._key] = "" if bare in NOTHING else bare
            self.state = State.OBJECT
            return False
        self._depth += (character in "[{") - (character in "]}")
        self._value.append(character)
        return True

    def _text(self, character: str) -> bool:
        """Within a text."""
        if character == '"':
            self.state = State.QUOTED
            self._comma = False
        elif character == "\\":
            self.state = State.ESCAPE
            self._escape = ""
        else:
            self._say(character)
        return True

    def _escaped(self, character: str) -> bool:
        """Within an escape of a text."""
        if not self._escape:
            if character == "u":
                self._escape = "u"
                return True
            self._say(ESCAPES.get(character, "\\" + character))
        elif character in HEX:
            self._escape += character
            if len(self._escape) < 5:
                return True
            self._say(chr(int(self._escape[1:], 16)))
        else:  # no JSON, so it stands for itself
            self._say("\\" + self._escape)
            self.state = State.TEXT
            return False
        self.state = State.TEXT
        return True

    def _quoted(self, character: str) -> bool:
        """After a quote in a text, which need not be its end: models forget to escape."""
        if character == "}":
            self._close()
            self._end()
        elif character == "{" and self._comma:  # a brace was forgotten
            self._close()
            self._end()
            self._begin()
        elif character == '"' and self._kept:
            self._kept.append(character)
            self._letters.clear()
            self.state = State.NEXT_KEY
        elif character.isspace() or (character == "," and not self._comma):
            self._kept.append(character)
            self._comma = self._comma or character == ","
        else:
            return self._no_end(character)
        return True

    def _next_key(self, character: str) -> bool:
        """After such a quote and a comma, within what may be the next key."""
        if character in "[]{}" or len(self._letters) == MAX_KEY:
            return self._no_end(character)
        self._kept.append(character)
        if self._ends_key(character):
            self.state = State.NEXT_COLON
        return True

    def _next_colon(self, character: str) -> bool:
        """After what may be the next key: a colon proves it."""
        if character == ":":
            self._close()
            self._key = "".join(self._letters)
            self.state = State.VALUE
        elif character.isspace():
            self._kept.append(character)
        else:
            return self._no_end(character)
        return True

    # What the steps do.

    def _begin(self) -> None:
        """An object begins."""
        self._values = {}
        self.state = State.OBJECT

    def _end(self) -> None:
        """An object is whole."""
        self._found.append(self._values)
        self._inside = True
        self.state = State.BETWEEN

    def _give_up(self) -> bool:
        """The object is broken: go on with the next one."""
        self.broken += self._inside or bool(self._values)  # a brace in what the model says first is not an object
        self.state = State.BETWEEN if self._inside else State.BEFORE
        return False

    def _ends_key(self, character: str) -> bool:
        """Is this the quote that ends a key? Collects its letters."""
        if character == '"' and not self._skip:
            return True
        self._skip = character == "\\" and not self._skip
        if not self._skip:
            self._letters.append(character)
        return False

    def _say(self, text: str) -> None:
        """Add to the value, and to what listeners have not heard yet."""
        self._value.append(text)
        if self._listening:
            self.heard.append(text.replace("\n", " "))

    def _close(self) -> None:
        """The quote was the end of the text."""
        self._kept.clear()
        self._values[self._key] = "".join(self._value)
        if self._listening:
            self.heard.append("\n")

    def _no_end(self, character: str) -> bool:
        """The quote belongs to the text; `feed` reads again what followed it."""
        self._say('"')
        self._kept.append(character)
        self._skip = False
        self.state = State.TEXT
        return False
