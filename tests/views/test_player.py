"""The player: what a notebook gets of a run, where scripts may run and where they may not."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest

from orchkit.analysis.film import applied
from orchkit.analysis.known import Known
from orchkit.errors import UnknownNameError
from orchkit.model.workflow import Workflow
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views import player as player_module
from orchkit.views import render
from orchkit.views.filming import escaped, film_of_run, footage_of
from orchkit.views.front import STATIC, module, style
from orchkit.views.palette import DARK, STATUS
from orchkit.views.run import Run
from orchkit.views.stage import stage_of
from orchkit.views.text import status_class

FLOW = {
    "name": "shop",
    "execution_mode": "dag",
    "steps": [
        {"id": "load", "tool": "t.load"},
        {"id": "undone", "tool": "t.reserve", "depends_on": ["load"], "compensate": "t.release"},
        {"id": "each", "tool": "t.each", "over": "${steps.load.rows}"},
        {"id": "sub", "workflow": {"name": "inner", "steps": [{"id": "deep", "tool": "t.deep"}]}},
    ],
}


class Parts(HTMLParser):
    """The elements of some HTML, and the text of its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.scripts and self.lasttag == "script" and self.cdata_elem == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        else:
            self.text += data


def without_scripts(html: str) -> str:
    """What a notebook shows that is not trusted."""
    return re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL)


@pytest.fixture
def run(recording: Any, store: Store, clock: FakeClock) -> Run:
    """A run that failed and was undone."""
    told = recording().start(Workflow.from_dict(FLOW)).ran("load", "t.load", output={"rows": [1, 2]})
    told.ran("undone", "t.reserve").begin("each", "t.each", "map", input={"items": 2})
    told.ran("each[0]", "t.each", parent="each").failed("each[1]", "ValueError: no", "t.each", parent="each")
    told.finish("each", "failed", "t.each", error="ValueError: no")
    told.ran("compensate:undone", "t.release").end("failed", "ValueError: no").store(store, clock)
    return Run(store, "run_1")


def test_a_notebook_gets_picture_player_and_film(run: Run) -> None:
    """The output has the still card, the film as data and one script that starts the player."""
    bundle = run.replay()._repr_mimebundle_()
    parts = Parts(bundle["text/html"])
    film, script = parts.scripts
    assert bundle.keys() == {"text/plain", "text/html"}
    assert film[0]["type"] == "application/json"
    assert json.loads(film[1]) == run.replay().film
    assert script[0] == {"type": "module"}
    assert "import " not in re.sub(r"(?m)^//.*$", "", script[1])
    assert {"img", "table", "details"} <= set(parts.tags)
    assert "ValueError: no" in parts.text
    assert bundle["text/plain"] == "<Player of shop: 24 events>"


def test_without_scripts_everything_is_still_told(run: Run) -> None:
    """An untrusted notebook, and GitHub, show the final picture and every event in a table."""
    html = without_scripts(run.replay()._repr_html_())
    parts = Parts(html)
    assert "script" not in parts.tags
    assert "style" not in parts.tags
    assert "svg" not in parts.tags
    assert "data:image/svg+xml;base64," in html
    assert "24 events" in parts.text
    assert all(frame["text"] in parts.text for frame in run.replay().film["frames"])


def test_the_film_of_a_run_is_that_of_its_events(run: Run) -> None:
    """What the frames add up to is the state that the run itself has."""
    film = run.replay().film
    shown = applied(film["frames"])
    assert {one: facts["status"] for one, facts in shown["steps"].items()} == {
        one: step.status for one, step in run.state.steps.items()
    }
    assert (film["run"]["standing"], film["run"]["cut_off"], film["run"]["marks"]) == ("failed", False, [])
    assert film["run"]["story"] == str(run.explain())


def test_every_step_has_its_element_on_the_stage(run: Run) -> None:
    """Steps, compensations and the steps of sub-workflows are found by id; items are in their map."""
    stage = stage_of(run.state)
    ids = set(re.findall(r'<g id="([^"]+)"', stage["svg"]))
    assert stage["nodes"].keys() == {"load", "undone", "each", "sub", "compensate:undone"}
    assert [path for path, _ in stage["inner"]] == [["sub", "deep"]]
    assert set(stage["nodes"].values()) | {element for _, element in stage["inner"]} <= ids
    assert "<style" not in stage["svg"]


def test_a_condensed_stage_says_which_steps_an_element_stands_for() -> None:
    """With many steps several have the same element, and all have one."""
    steps = [{"id": f"s{n}", "tool": "t", "depends_on": [f"s{n - 9}"] if n > 8 else []} for n in range(400)]
    flow = Workflow.from_dict({"name": "many", "execution_mode": "dag", "steps": steps})
    from orchkit.model.state import RunState

    stage = stage_of(RunState(run_id="run_1", name="many", definition=flow.to_dict()), Known())
    assert stage["condensed"]
    assert len(stage["nodes"]) == 400
    assert len(set(stage["nodes"].values())) < 100


def test_runs_below_are_films_of_their_own(recording: Any, store: Store, clock: FakeClock) -> None:
    """The run of a sub-workflow is in the film of the run around it, with a stage of its own."""
    outer = recording("run_1").start(Workflow.from_dict(FLOW))
    outer.begin("sub", "inner", "workflow", child_run_id="run_2").store(store, clock)
    inner = recording("run_2").start(Workflow.from_dict(FLOW["steps"][3]["workflow"]), parent_run_id="run_1")
    inner.add("run.paused").ran("deep", "t.deep", output="found").end().store(store, clock)
    recording("run_1").add("step.finished", "sub", status="success", name="inner").store(store, clock)
    film = film_of_run(footage_of(Run(store, "run_1")))
    assert film["below"].keys() == {"run_2"}
    below = film["below"]["run_2"]
    assert [frame["kind"] for frame in below["frames"]][:2] == ["run.started", "run.paused"]
    assert below["dag"]["nodes"].keys() == {"deep"}
    assert film["dag"]["inner"] == [[["sub", "deep"], film["dag"]["inner"][0][1]]]
    assert applied(film["frames"])["steps"]["sub"]["child_run_id"] == "run_2"


def test_a_run_that_was_cut_off_says_so_at_its_end(recording: Any, store: Store, clock: FakeClock) -> None:
    """The record says running to the end; the film says that nothing will follow."""
    told = recording().start("a run", pid=1, host="elsewhere", born="1/2/3").begin("a")
    told.add("attempt.started", "a", 1).add("run.imported", file="x.orchkit", host="elsewhere")
    told.store(store, clock)
    film = film_of_run(footage_of(Run(store, "run_1")))
    assert (film["run"]["standing"], film["run"]["cut_off"]) == ("cut off", True)


def test_long_films_are_compressed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Front ends drop messages of several megabytes: what is long travels packed and says the same."""
    monkeypatch.setattr(player_module, "PLAIN_BYTES", 100)
    (attrs, text), _ = Parts(run.replay()._repr_html_()).scripts
    assert attrs["type"] == "application/gzip"
    assert json.loads(gzip.decompress(base64.b64decode(text))) == run.replay().film


def test_hostile_texts_stay_texts(hostile_run: Any, store: Store, clock: FakeClock) -> None:
    """Whatever stands in a run, its replay has two scripts, both ours, and no elements of its own."""
    hostile_run.store(store, clock)
    html = Run(store, "run_1").replay()._repr_html_()
    parts = Parts(html)
    assert len(parts.scripts) == 2
    assert set(Parts(without_scripts(html)).tags) <= {
        "div", "span", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "code", "img", "br",
    }  # fmt: skip
    assert "cannot be shown" not in parts.text
    json.loads(parts.scripts[0][1])


def test_without_a_renderer_the_replay_shows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can lay a picture out, the player still has its frames and says what there is."""
    monkeypatch.setattr(render, "RENDERERS", ())
    html = run.replay()._repr_html_()
    assert "cannot be shown" not in html
    assert len(Parts(html).scripts) == 2


def test_a_run_that_does_not_exist(store: Store) -> None:
    """Showing never raises; the film itself does."""
    nobody = Run(store, "run_x")
    assert "cannot be shown" in nobody.replay()._repr_html_()
    assert repr(nobody.replay()).startswith("<Player of run_x: ")
    with pytest.raises(UnknownNameError, match="run_x"):
        nobody.replay().film  # noqa: B018


def test_what_is_redacted_is_nowhere_in_the_output(recording: Any, store: Store, clock: FakeClock) -> None:
    """Neither the film nor the picture beside it, nor the tables, have what was taken out."""
    told = recording().start("a run").begin("a", input={"token": "s3cr3t"})
    told.attempt("a", 1, "failed", error="ValueError: s3cr3t").finish(
        "a", "failed", error="ValueError: s3cr3t"
    )
    told.end("failed", "ValueError: s3cr3t").store(store, clock)
    run = Run(store, "run_1")

    def redact(path: str, value: Any) -> Any:
        return value.replace("s3cr3t", "•••") if isinstance(value, str) else value

    def seen(html: str) -> str:
        pictures = re.findall(r"base64,([A-Za-z0-9+/=]+)", html)
        return html + "".join(base64.b64decode(picture).decode() for picture in pictures)

    assert "s3cr3t" in seen(run.replay()._repr_html_())
    assert "s3cr3t" not in seen(run.replay(redact)._repr_html_())


@pytest.mark.parametrize("text", ["</script>", "<!--", "\u2028", "&lt;", "]]>"])
def test_escaped_json_says_the_same(text: str) -> None:
    """Nothing in it can end the element that it stands in."""
    found = escaped(json.dumps({"a": text}, ensure_ascii=False))
    assert json.loads(found) == {"a": text}
    assert not set(found) & set("<>&\u2028\u2029")


# --- the widget ----------------------------------------------------------------------------


def test_widgets_are_imported_only_when_one_is_made() -> None:
    """Looking at a run costs neither ipywidgets nor anywidget."""
    code = "import sys, orchkit.views.run; sys.exit(bool({'anywidget', 'ipywidgets'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_widget_shares_its_position(run: Run) -> None:
    """For layouts of widgets: the film goes over once, the position is known on both sides."""
    widget = run.replay().widget(position=3)
    seen: list[int] = []
    widget.observe(lambda change: seen.append(change["new"]), "position")
    widget.position = 5
    assert (json.loads(widget.film), seen) == (run.replay().film, [5])
    assert "export default { render: $widget.render };" in widget._esm
    sent: list[Any] = []
    widget.send = sent.append
    widget.add([{"seq": 99}], ["1"], status="failed")
    assert sent == [{"type": "frames", "frames": [{"seq": 99}], "values": ["1"], "run": {"status": "failed"}}]


# --- the front end as one text -------------------------------------------------------------


@pytest.mark.parametrize("name", ["player", "page", "cell", "widget"])
def test_a_module_needs_no_other(name: str) -> None:
    """What it imports comes along, in scopes of their own, and nothing is fetched."""
    text = module(name, "player.css")
    assert not re.search(r"^\s*import\b", text, re.MULTILINE)
    assert not re.search(r"\bimport\(|\bfetch\(|XMLHttpRequest|WebSocket|eval\(|new Function", text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_colours_of_statuses_come_from_the_palette() -> None:
    """Each status has its colours on light and on dark pages, and nothing else names them."""
    css = style("common.css", "dag.css", "player.css")
    assert STATUS.keys() == DARK.keys()
    for status in STATUS:
        assert f".{status_class(status)}{{" in css
        for look in (STATUS[status], DARK[status]):
            assert all(colour in css for colour in (look.colour, look.fill, look.text))
    own = "".join(
        (STATIC / name).read_text(encoding="utf-8") for name in ("common.css", "dag.css", "player.css")
    )
    assert "url(" not in own.replace("url(#orchkit-hatch)", "")
    assert "@import" not in own


def _contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("status", STATUS)
def test_dark_colours_can_be_read(status: str) -> None:
    """Text on its fill has a contrast of 7, strokes on the page and on the fill one of 3."""
    look = DARK[status]
    assert _contrast(look.text, look.fill) >= 7
    assert _contrast(look.colour, "#14181D") >= 3
    assert _contrast(look.colour, look.fill) >= 3
