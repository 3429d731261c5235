"""The transcript as a page: what stands in it, where it looks for the recording, and that nothing breaks out of it."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as effort

from dropscribe.core.types import Segment, SegmentKind, Span, Speaker, Transcript
from dropscribe.worker.outputs import html_, render
from tests.unit.test_outputs import BOARD, SOURCE, spoken, text_of, transcripts

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "worker" / "outputs" / "page"
HOSTILE = "</script></style></title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Reader(HTMLParser):
    """The tags of a page with their attributes, and the text outside of script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] and self.tags[-1][0] not in {"script", "style"}:
            self.text.append(data)

    def all(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        """The attributes of every such tag, of the class `kind` if one is named."""
        return [a for name, a in self.tags if name == tag and (not kind or kind in (a.get("class") or "").split())]


def page_of(transcript: Transcript, folder: str | None = None) -> Reader:
    return Reader(render(transcript, "html", Path(folder) if folder else None).decode())


def recording(path: str, folder: str | None = None) -> str | None:
    (media,) = page_of(replace(BOARD, source=replace(SOURCE, path=path)), folder).all("audio")
    return media["src"]


class TestText:
    @effort(max_examples=30, deadline=None)
    @given(transcripts)
    def test_whatever_a_recording_says_the_page_has_the_same_tags(self, transcript: Transcript) -> None:
        harmless = re.compile("html|head|meta|title|style|body|a|header|h1|dl|div|dt|dd|ul|li|input|p|code|button|span")
        others = {"output", "audio", "video", "q", "label", "main", "section", "h2", "small", "dialog", "kbd", "script"}
        tags = {tag for tag, _ in page_of(transcript).tags}
        assert all(harmless.fullmatch(tag) or tag in others for tag in tags)

    def test_hostile_text_and_names_stay_text(self) -> None:
        said = [Segment(0, 1, HOSTILE, 0), Segment(1, 2, HOSTILE, None, SegmentKind.EVENT)]
        hostile = spoken(
            *said,
            job_id=HOSTILE,
            source=replace(SOURCE, path=f"/rec/{HOSTILE.replace('/', '')}.wav"),
            speakers=(Speaker(0, HOSTILE, 1.0, (1,)),),
            reasons=(HOSTILE,),
            notes=(HOSTILE,),
        )
        plain = replace(
            hostile, job_id="j", source=SOURCE, reasons=("a",), notes=("b",), speakers=(Speaker(0, "", 1, (1,)),)
        )
        harmless = page_of(replace(plain, segments=tuple(replace(one, text="x") for one in said)))
        page = page_of(hostile)
        assert [tag for tag, _ in page.tags] == [tag for tag, _ in harmless.tags]
        assert page.text.count(HOSTILE) >= 4

    def test_what_a_reader_must_know_comes_before_the_transcript(self) -> None:
        text = "\n".join(page_of(BOARD).text)
        assert text.index("SUSPECT: a stretch of speech was not read") < text.index("Good morning.")
        assert page_of(BOARD).all("ul", "suspect")
        assert not page_of(replace(BOARD, reasons=(), uncovered_speech=())).all("ul", "remarks")

    def test_speakers_are_named_where_they_were_told_apart(self) -> None:
        assert "Speaker ?" in page_of(spoken(Segment(0, 1, "a", 0), Segment(1, 2, "b"))).text
        alone = page_of(spoken(Segment(0, 1, "a")))
        assert not alone.all("section", "c0")
        assert not alone.all("ul", "people")
        assert [a.get("id") for a in alone.all("h2")] == ["help-title"]

    def test_who_may_be_the_same_is_said(self) -> None:
        doubtful = spoken(
            Segment(0, 1, "a", 0), Segment(1, 2, "b", 1), speakers=(Speaker(0, "Ann", 1, (1,)), Speaker(1))
        )
        (first, _) = re.findall(r"<li class=\"c\d\">.*?</li>", text_of(doubtful, "html"))
        assert re.sub("<.*?>", "", first) == " speaks 00:00:01, maybe the same as Speaker 2"

    def test_a_doubtful_segment_says_so_in_words(self) -> None:
        page = page_of(spoken(Segment(0, 1, "a", confidence=0.31), Segment(1, 2, "b", confidence=0.62)))
        assert "unsure: confidence 31%" in page.text
        assert len(page.all("p", "unsure")) == 1


def test_what_is_unsure_is_never_rounded_up_to_what_is_not() -> None:
    assert [html_._percent(confidence) for confidence in (0.0, 0.314, 0.494, 0.4999)] == ["0%", "31%", "49%", "49%"]


class TestTime:
    def test_what_is_missing_stands_where_it_is_missing(self) -> None:
        page = page_of(BOARD)
        order = [a["data-start"] for a in page.all("p") if "data-start" in a]
        assert order == ["0.400", "4.300", "6.200", "9.900", "12.000", "30.000"]
        assert "00:00:12 to 00:00:30: speech that this transcript does not cover" in page.text

    def test_a_long_silence_is_told_and_a_missing_stretch_is_not_called_one(self) -> None:
        source = replace(SOURCE, duration=100.0)
        said = (Segment(12, 20, "a"), Segment(29, 40, "b"), Segment(30, 35, "c"))
        page = page_of(spoken(*said, source=source, uncovered_speech=(Span(40, 95),)))
        assert [line for line in page.text if "without" in line] == ["00:00:12 without words"]

    def test_rows_are_in_order_of_time_and_numbered(self) -> None:
        page = page_of(spoken(Segment(5, 6, "b", 1), Segment(0, 1, "a", 0), Segment(4000.25, 4000.5, "c", 1)))
        assert [(a["id"], a["data-start"]) for a in page.all("p", "row")] == [
            ("s0", "0.000"), ("s1", "5.000"), ("s2", "4000.250"),
        ]  # fmt: skip

    def test_a_long_speech_is_cut_into_parts_that_a_browser_lays_out_one_by_one(self) -> None:
        page = page_of(spoken(*(Segment(i, i + 1, "on and on", 0) for i in range(100))))
        assert [len(page.all(tag, kind)) for tag, kind in (("section", "turn"), ("p", "row"))] == [3, 100]


class TestRecording:
    @pytest.mark.parametrize(
        ("path", "folder", "link"),
        [
            ("/rec/board.flac", None, "board.flac"),
            ("/rec/board.flac", "/rec", "board.flac"),
            ("/rec/2026/board.flac", "/results/rec/2026", "../../../rec/2026/board.flac"),
            ("/rec/a b#1?.wav", "/rec", "a%20b%231%3F.wav"),
            ("/rec/javascript:alert(1).wav", "/rec", "javascript%3Aalert%281%29.wav"),
            ("/rec/https:/host.wav", "/rec", "https%3A/host.wav"),
            ("/rec/Größe.wav", "/rec", "Gr%C3%B6%C3%9Fe.wav"),
            (b"/rec/caf\xe9.wav".decode("utf-8", "surrogateescape"), "/rec", "caf%E9.wav"),
        ],
    )
    def test_it_is_found_from_where_the_page_lies(self, path: str, folder: str | None, link: str) -> None:
        assert recording(path, folder) == link

    def test_a_film_is_shown(self) -> None:
        assert page_of(replace(BOARD, source=replace(SOURCE, path="/rec/talk.MP4"))).all("video")


class TestPolicy:
    def test_nothing_is_fetched_and_only_the_own_script_runs(self) -> None:
        page = text_of(BOARD, "html")
        (policy,) = [str(a["content"]) for a in Reader(page).all("meta") if a.get("http-equiv")]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules.pop("default-src") == "'none'"
        assert all(re.fullmatch(r"'sha256-[\w+/]{43}='", rules[kind]) for kind in ("script-src", "style-src"))
        assert not re.search(r"unsafe|https?:|\*", policy)
        assert not re.search(r"https?:|//\w|@import|url\(", page)

    def test_the_script_never_parses_markup(self) -> None:
        script = (PAGE / "page.js").read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", script)

    def test_no_part_ends_the_element_that_holds_it(self) -> None:
        assert "</" not in (PAGE / "page.js").read_text() + (PAGE / "page.css").read_text()


def themes() -> list[dict[str, str]]:
    """The colours of the light theme, and of the dark one."""
    blocks = re.findall(r":root \{(.*?)\}", (PAGE / "page.css").read_text(), re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks]


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, as WCAG 2.2 defines it."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


class TestColours:
    def test_there_is_one_for_each_of_the_first_speakers(self) -> None:
        assert all(f"c{number}" in theme for theme in themes() for number in range(html_.COLOURS))
        assert len(themes()) == 2

    @pytest.mark.parametrize("theme", themes(), ids=["light", "dark"])
    def test_all_text_can_be_read(self, theme: dict[str, str]) -> None:
        texts = ["ink", "faint", *(f"c{number}" for number in range(html_.COLOURS))]
        for text in texts:
            for ground in ("ground", "raised", "now", "warn"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)


def test_the_same_transcript_gives_the_same_bytes() -> None:
    assert render(BOARD, "html") == render(BOARD, "html")


def test_the_template_is_part_of_the_package(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed").WheelBuilder
    (built,) = wheel(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        assert {f"dropscribe/worker/outputs/page/{file.name}" for file in PAGE.iterdir()} <= set(archive.namelist())
