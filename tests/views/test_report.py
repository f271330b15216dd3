"""Reports: one HTML file that fetches nothing, holds what it should, and nothing that it should not."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from pydantic import BaseModel, SecretStr

import orchkit as ok
from orchkit.errors import ParameterError, UnknownNameError
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views.run import Run

SECRET = "hunter2-of-the-vault"
TOKEN = SecretStr(SECRET)
URLS = {"src", "href", "action", "formaction", "poster", "data", "srcset", "background", "xlink:href", "cite"}
CHECKED = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "footer", "script", "div", "span",
    "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "code", "img", "br",
}  # fmt: skip


class Document(HTMLParser):
    """What a browser would do with a page: its elements, what they point at, its scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.urls: list[str] = []
        self.handlers: list[str] = []
        self.policy = ""
        self.blocks: list[tuple[str, dict[str, str | None], str]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.urls += [value or "" for name, value in attrs if name in URLS]
        self.urls += re.findall(r"url\(([^)]*)\)", found.get("style") or "")
        self.handlers += [name for name in found if name.startswith("on")]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""
        if tag in ("script", "style"):
            self.blocks.append((tag, found, ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            tag, attrs, text = self.blocks[-1]
            self.blocks[-1] = (tag, attrs, text + data)
        else:
            self.text += data

    @property
    def films(self) -> list[dict[str, Any]]:
        """The data of the page."""
        found: list[dict[str, Any]] = json.loads(
            next(text for _, attrs, text in self.blocks if attrs.get("id") == "orchkit-films")
        )
        return found


@pytest.fixture
def told(recording: Any, store: Store, clock: FakeClock) -> Run:
    """A run with everything that a report shows."""
    run = (
        recording()
        .start("a run", context={"region": "EU"})
        .begin("a", input={"url": "https://example.com/a"})
    )
    run.attempt("a", 1, "failed", error="OSError: http://example.com is down")
    run.add("evidence", "a", 1, evidence_id="evd_1", type="page", source="https://example.com", data={"n": 1})
    run.decided(
        "a", "choose", "wait", "it was down", 1, origin="user", alternatives=["go"], evidence=["evd_1"]
    )
    run.finish("a", "failed", error="OSError: http://example.com is down").end("failed", "OSError")
    run.store(store, clock)
    return Run(store, "run_1")


def test_a_report_is_one_file_that_fetches_nothing(told: Run, tmp_path: Path) -> None:
    """No element and no style points anywhere outside, and the policy of the page forbids it besides."""
    path = told.to_html(tmp_path / "run.html")
    page = Document(path)
    assert path == tmp_path / "run.html"
    assert all(url.startswith("data:image/svg+xml;base64,") for url in page.urls)
    assert page.tags <= CHECKED
    assert not page.handlers
    for tag, attrs, text in page.blocks:
        assert "src" not in attrs
        if tag == "style":
            assert not re.search(r"url\(|@import|https?:", text)
    policy = dict(part.split(" ", 1) for part in page.policy.split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["img-src"] == "data:"
    assert "connect-src" not in policy
    assert "unsafe" not in policy["script-src"]


def test_only_the_script_of_the_page_may_run(told: Run, tmp_path: Path) -> None:
    """The policy names it by its hash: whatever else got into the file would not be run."""
    page = Document(told.to_html(tmp_path / "run.html"))
    (script,) = [text for tag, attrs, text in page.blocks if tag == "script" and attrs["type"] == "module"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.policy


def test_the_report_has_the_whole_replay(told: Run, tmp_path: Path) -> None:
    """Its data is the film of the run; what stands below is there where no script may run, too."""
    page = Document(told.to_html(tmp_path / "run.html"))
    assert page.films == [told.replay().film]
    for text in ("a run", "OSError", "choose", "it was down", "page", "8 events"):
        assert text in page.text


def test_hostile_texts_are_inert(hostile_run: Any, store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """Nothing that stands in a run becomes an element, an attribute or a script of the page."""
    hostile_run.store(store, clock)
    page = Document(Run(store, "run_1").to_html(tmp_path / "run.html"))
    assert page.tags <= CHECKED
    assert not page.handlers
    assert [tag for tag, _, _ in page.blocks] == ["style", "script", "script"]
    assert len(page.films) == 1


def test_what_is_redacted_is_not_in_the_file(told: Run, tmp_path: Path) -> None:
    """Every value and every text that the callable changes is gone, also from the pictures."""
    asked: set[str] = set()

    def redact(path: str, value: Any) -> Any:
        asked.add(path)
        return value.replace("example.com", "…") if isinstance(value, str) else value

    def everything(path: Path) -> str:
        html = path.read_text(encoding="utf-8")
        pictures = re.findall(r"base64,([A-Za-z0-9+/=]+)", html)
        return html + "".join(base64.b64decode(picture).decode() for picture in pictures)

    assert "example.com" in everything(told.to_html(tmp_path / "all.html"))
    assert "example.com" not in everything(told.to_html(tmp_path / "less.html", redact=redact))
    assert {"run.context.region", "steps.a.input.url", "evidence.page.source", "steps.a.error"} <= asked


@pytest.mark.parametrize("wrong", [["token"], "token", {"token": None}])
def test_a_redactor_is_a_function(told: Run, tmp_path: Path, wrong: Any) -> None:
    """Names of fields would take nothing out: wherever one can be given, they are refused."""
    said = r"redact: a \w+ is no function \(a function redact\(path, value\)"
    for use in (
        lambda: told.to_html(tmp_path / "run.html", redact=wrong),
        lambda: told.explain(redact=wrong),
        lambda: told.timeline(redact=wrong),
    ):
        with pytest.raises(ParameterError, match=said):
            use()
    assert not list(tmp_path.glob("*.html"))


def test_a_redactor_that_fails_leaves_no_file(told: Run, tmp_path: Path) -> None:
    """Nothing is written unless everything has been looked at; a report that was there stays."""
    path = told.to_html(tmp_path / "run.html")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        told.to_html(path, redact=lambda path, value: 1 / 0)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_is_there_is_replaced(told: Run, tmp_path: Path) -> None:
    """The same cell can be run again, and no draft is left beside it."""
    path = tmp_path / "run.html"
    path.write_text("old", encoding="utf-8")
    told.to_html(str(path))
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [path]


def test_its_size_is_said(told: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who is about to mail it wants to know."""
    with caplog.at_level(logging.INFO, "orchkit"):
        path = told.to_html(tmp_path / "run.html")
    size = round(path.stat().st_size / 1000)
    assert [record.getMessage() for record in caplog.records] == [f"{path}: {size} kB, 1 run"]


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("run.pdf", ValueError, r"name it \*\.html"),
        ("", ValueError, "is a folder"),
        ("gone/run.html", FileNotFoundError, "create it first"),
    ],
)
def test_bad_places_are_refused(
    told: Run, tmp_path: Path, name: str, error: type[Exception], said: str
) -> None:
    """The error names what is wrong with the path and what to do."""
    with pytest.raises(error, match=said):
        told.to_html(tmp_path / name)


def test_a_run_that_does_not_exist(store: Store, tmp_path: Path) -> None:
    """There is nothing to report on, so there is no file."""
    with pytest.raises(UnknownNameError, match="run_x"):
        Run(store, "run_x").to_html(tmp_path / "run.html")
    assert not list(tmp_path.iterdir())


# --- with a kit ----------------------------------------------------------------------------


class Login(BaseModel):
    """What a service wants to know."""

    user: str
    password: SecretStr


async def sign_in(login: Login, token: SecretStr = TOKEN) -> dict[str, Any]:
    """A method that is given secrets, passes them on, decides by them and shows them as evidence."""
    assert login.password.get_secret_value() == token.get_secret_value() == SECRET
    evidence = ok.bundle_evidence("login", {"login": login, "token": token}, metadata={"token": token})
    ok.trace_decision("trust", "yes", input_data={"login": login}, alternatives=[token], evidence=[evidence])
    return {"login": login, "token": token}


async def fail(token: SecretStr = TOKEN) -> None:
    """An error that shows what it was given."""
    raise ValueError(f"no way with {token!r} and {Login(user='u', password=token)}")


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit in memory with both methods."""
    with ok.open() as kit:
        kit.registry.methods.register_method(sign_in)
        kit.registry.methods.register_method(fail)
        yield kit


def test_secrets_reach_neither_a_record_nor_a_view(kit: ok.Kit, tmp_path: Path) -> None:
    """Fields typed SecretStr are nowhere: not in the files, events, tables, replays, reports or cards."""
    login = {"user": "u", "password": SecretStr(SECRET)}
    flow = kit.workflow("vault").add_step("sign_in", {"login": login}).add_step("fail").build()
    run = kit.run(flow, context={"login": Login(user="u", password=SecretStr(SECRET))}).run
    path = kit.report(tmp_path / "vault.html")
    html = path.read_text(encoding="utf-8")
    pictures = [base64.b64decode(one).decode() for one in re.findall(r"base64,([A-Za-z0-9+/=]+)", html)]
    everything = [html, *pictures, json.dumps(run.to_dict()), run.replay()._repr_html_()]
    other = kit.run(flow, context={"login": Login(user="u_2", password=SecretStr(SECRET + "2"))}).run
    views = [run, run.dag(), run.dag(at=5), run.timeline(), run.decision_table(), run.evidence_table(),
             kit.runs, kit.runs.table(), ok.compare(run, other)]  # fmt: skip
    everything += [text for view in views for text in view._repr_mimebundle_().values()]
    everything += [repr(view) for view in [*views, run.step("sign_in"), run.step("fail")]]
    everything += [str(run.explain()), str(run.explain("fail")), str(ok.compare(run, other).explain())]
    tables = [run.steps(), run.attempts(), run.decisions(), run.evidence(), run.events(),
              ok.compare(run, other).differences(), ok.compare(run, other).evidence(),
              *(kit.sql(f"select * from {view}") for view in VIEWS)]  # fmt: skip
    everything += [table.to_csv() for table in tables]
    assert all(SECRET not in _seen(text) for text in everything)
    assert "**********" in html
    assert run.step("sign_in").status == "success"
    assert not run.evidence().empty


VIEWS = ("runs", "steps", "attempts", "decision_traces", "evidence_bundles", "events")


def _seen(text: str) -> str:
    """A text with its pictures, as people see them."""
    pictures = re.findall(r"base64,([A-Za-z0-9+/=]+)", text)
    return text + "".join(base64.b64decode(one).decode("utf-8", "replace") for one in pictures)


def test_secrets_are_not_in_the_files(tmp_path: Path) -> None:
    """Neither in the log, while it holds the events, nor in the history, nor in what is exported."""
    with ok.open(tmp_path / "runs.duckdb") as kit:
        kit.registry.methods.register_method(sign_in)
        login = {"user": "visible_user", "password": SecretStr(SECRET)}
        run = kit.run(kit.workflow("vault").add_step("sign_in", {"login": login}).build()).run
        assert _in_files(tmp_path, "visible_user")
        assert not _in_files(tmp_path, SECRET)
        assert len(run.events()) > 0
        unpacked = tmp_path / "bundle"
        with ZipFile(run.export(tmp_path / "run.orchkit")) as bundle:
            bundle.extractall(unpacked)
        assert _in_files(unpacked, "visible_user")
    assert not _in_files(tmp_path, SECRET)


def _in_files(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_whatever_is_redacted_is_in_no_view(kit: ok.Kit) -> None:
    """Pictures, words, timeline, tables and comparison ask the same callable about every value and text."""

    async def post(card: str) -> str:
        evidence = ok.bundle_evidence("card", {"number": card}, source=f"form {card}", metadata={"m": card})
        ok.trace_decision(
            "pay", card, card, alternatives=[card], input_data={"card": card}, evidence=evidence
        )
        raise ValueError(f"the card {card} was declined")

    kit.registry.methods.register_method(post, name="post")
    retry = {"max_attempts": 2, "strategy": "immediate"}
    inner = kit.workflow("inner").add_step("post", {"card": "${context.card}"}, retry=retry).build()
    flow = kit.workflow("shop").add_step("post", {"card": "${context.card}"}, step_id="first", retry=retry)
    flow.add_workflow(inner, {"card": "${context.card}"}, step_id="sub").with_error_handling(
        "continue_on_failure"
    )
    a, b = (kit.run(flow.build(), context={"card": card}).run for card in ("4929-1111", "4929-2222"))
    asked: set[str] = set()

    def redact(path: str, value: Any) -> Any:
        asked.add(path)
        return re.sub(r"4929-\d+", "(a card)", value) if isinstance(value, str) else value

    compared = kit.compare(a, b, redact=redact)
    views = [a.dag(redact=redact), a.dag(at=9, redact=redact), a.timeline(redact=redact), a.replay(redact),
             a.decision_table(redact=redact), a.evidence_table(redact=redact), compared]  # fmt: skip
    texts = [text for view in views for text in view._repr_mimebundle_().values()] + [repr(compared)]
    texts += [str(a.explain(redact=redact)), str(a.explain("first", redact=redact)), str(compared.explain())]
    texts += [table.to_csv() for table in (a.timeline(redact=redact).frame(), compared.differences(),
                                           compared.decisions(), compared.evidence())]  # fmt: skip
    assert all("4929-" not in _seen(text) for text in texts)  # digits alone may stand in an id
    assert sum("(a card)" in _seen(text) for text in texts) > 12
    assert {"steps.first.input.card", "steps.first.error", "decisions.pay.rationale"} <= asked
    assert "4929-1111" in repr(a.decision_table())


def test_what_was_taken_out_still_differs(kit: ok.Kit) -> None:
    """A comparison does not say that runs are alike because it may not show in what they differ."""

    async def judge(card: str) -> str:
        evidence = ok.bundle_evidence("card", {"number": card})
        known = "known" if card.endswith("1") else "unknown"
        ok.trace_decision("trust", known, input_data={"card": card}, evidence=evidence)
        raise ValueError(f"no: {card}")

    kit.registry.methods.register_method(judge, name="judge")
    flow = kit.workflow("shop").add_step("judge", {"card": "${context.card}"}).build()
    a, b = (kit.run(flow, context={"card": f"card {number}"}).run for number in (1, 2))

    def redact(path: str, value: Any) -> Any:
        return "…" if isinstance(value, str) and "card " in value else value

    found = kit.compare(a, b, redact=redact)
    plain = kit.compare(a, b)
    assert [(one.step, one.cause) for one in found.diff.divergences] == [
        (one.step, one.cause) for one in plain.diff.divergences
    ] == [(None, "context"), ("judge", "parameters"), ("judge", "evidence"), ("judge", "decision"),
          ("judge", "status")]  # fmt: skip
    assert not found.same
    parting = (
        "The runs part at decision 'trust' of step 'judge': B chose unknown instead of known, because its "
        "input was another one, which is taken out here."
    )
    assert str(found.explain()).split("\n")[:5] == [
        parting,
        "Before that:",
        "  B was given another context: it is taken out here",
        "  step 'judge' got other parameters in B: it is taken out here",
        "  step 'judge' had other evidence in B: it is taken out here",
    ]
    assert found.differences()["a"].tolist() == ["taken out"] * 3 + ["known", "taken out"]
    shown = found._repr_mimebundle_()["text/html"]
    assert "taken out" in shown
    assert "card " not in shown
    assert kit.compare(a, a, redact=redact).same


def test_several_runs_in_one_report(kit: ok.Kit, tmp_path: Path) -> None:
    """Runs are given as such or by id; without any, the newest come first."""
    flow = kit.workflow("w").add_step("fail").build()
    ids = [kit.run(flow).run_id for _ in range(3)]

    def shown(*runs: Any) -> list[str]:
        page = Document(kit.report(tmp_path / "report.html", *runs))
        return [film["run"]["run_id"] for film in page.films]

    assert shown() == ids[::-1]
    assert shown(kit.runs) == ids
    assert shown([ids[1], kit.runs[0]]) == [ids[1], ids[0]]
    assert shown(kit.last) == [ids[2]]
    assert shown(ids[0]) == [ids[0]]
    result = kit.run(flow)
    assert shown(result) == [result.run_id]
    assert shown([result, ids[0]]) == [result.run_id, ids[0]]
    for wrong in (5, [result, 5], [None]):
        with pytest.raises(ParameterError, match=r"runs: a \w+ is no run \(give runs, their results or"):
            kit.report(tmp_path / "none.html", wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "none.html").exists()


def test_a_report_on_nothing(kit: ok.Kit, tmp_path: Path) -> None:
    """A store without runs is told, instead of an empty page."""
    with pytest.raises(ValueError, match="no run to report on"):
        kit.report(tmp_path / "report.html")
