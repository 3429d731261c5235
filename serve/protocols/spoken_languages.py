"""Pure: the languages that Whisper knows, as the protocols of others call them: by code and by English name."""

from __future__ import annotations

_TABLE = """
af afrikaans|am amharic|ar arabic|as assamese|az azerbaijani|ba bashkir|be belarusian|bg bulgarian|bn bengali|bo tibetan
br breton|bs bosnian|ca catalan|cs czech|cy welsh|da danish|de german|el greek|en english|es spanish|et estonian
eu basque|fa persian|fi finnish|fo faroese|fr french|gl galician|gu gujarati|ha hausa|haw hawaiian|he hebrew|hi hindi
hr croatian|ht haitian creole|hu hungarian|hy armenian|id indonesian|is icelandic|it italian|ja japanese|jw javanese
ka georgian|kk kazakh|km khmer|kn kannada|ko korean|la latin|lb luxembourgish|ln lingala|lo lao|lt lithuanian
lv latvian|mg malagasy|mi maori|mk macedonian|ml malayalam|mn mongolian|mr marathi|ms malay|mt maltese|my myanmar
ne nepali|nl dutch|nn nynorsk|no norwegian|oc occitan|pa punjabi|pl polish|ps pashto|pt portuguese|ro romanian
ru russian|sa sanskrit|sd sindhi|si sinhala|sk slovak|sl slovenian|sn shona|so somali|sq albanian|sr serbian
su sundanese|sv swedish|sw swahili|ta tamil|te telugu|tg tajik|th thai|tk turkmen|tl tagalog|tr turkish|tt tatar
uk ukrainian|ur urdu|uz uzbek|vi vietnamese|yi yiddish|yo yoruba|yue cantonese|zh chinese
"""
NAMES: dict[str, str] = {
    code: name for code, _, name in (entry.partition(" ") for entry in _TABLE.replace("\n", "|").split("|") if entry)
}
_CODES = {name: code for code, name in NAMES.items()}


def name_of(code: str) -> str:
    """The English name of a language; its code where the name is not known.

    >>> name_of("de"), name_of("xx"), name_of("")
    ('german', 'xx', '')
    """
    return NAMES.get(code, code)


def code_of(said: str) -> str:
    """The code of a language that somebody named by its code, with a country perhaps, or in English.

    >>> code_of("de"), code_of("de-AT"), code_of("German"), code_of("")
    ('de', 'de', 'de', '')
    """
    wanted = said.strip().casefold()
    return _CODES.get(wanted) or wanted.replace("_", "-").partition("-")[0]
