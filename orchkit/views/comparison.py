"""Two runs side by side: in what they differ, and where they part."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchkit.analysis import diffframes
from orchkit.analysis.aligned import Side
from orchkit.analysis.diff import Diff, Divergence
from orchkit.analysis.difftext import headline, story
from orchkit.analysis.redaction import Redact
from orchkit.analysis.showndiff import ShownDiff
from orchkit.analysis.words import clean, shorten
from orchkit.errors import ParameterError, Problem, StoreError
from orchkit.model.display import Displayable
from orchkit.registry.code import changes
from orchkit.store import codec
from orchkit.views.filming import footage_of
from orchkit.views.run import Explanation, Run

if TYPE_CHECKING:
    import pandas as pd


class Comparison(Displayable):
    """What differs between the runs ``a`` and ``b``, as they stood when they were first looked at.

    Steps are aligned by id, those of sub-workflows by ``step/inner step``; decisions by step, point and
    occurrence. B is told by what it did *instead of* A. How long something took, and how many attempts, is
    compared but is no divergence.
    """

    def __init__(self, a: Run, b: Run, redact: Redact | None = None) -> None:
        self.a, self.b = a, b
        self._redact = redact

    @cached_property
    def diff(self) -> Diff:
        """The differences as values: see `orchkit.analysis.diff.Diff`."""
        whole = Diff(*(Side(state := run.state, run.known_of(state)) for run in (self.a, self.b)))
        if self._redact is None:
            return whole
        shown = (footage_of(run, self._redact) for run in (self.a, self.b))
        return ShownDiff(whole, *(Side(one.state, one.known) for one in shown))

    @property
    def same(self) -> bool:
        """Whether nothing but durations and attempts differs."""
        return not self.diff.divergences

    @property
    def first(self) -> Divergence | None:
        """The first difference, in the order of steps and of causes: context, definition, code and so on."""
        return self.diff.first

    @property
    def parting(self) -> Divergence | None:
        """The first decision in which the runs part; None when they decided alike."""
        return self.diff.parting

    def explain(self) -> Explanation:
        """Where the runs part and why, what came before, and what else differs, in plain words."""
        return Explanation("\n".join(story(self.diff)))

    def code_changes(self) -> Mapping[str, str]:
        """For each tool whose code was changed, by name: the difference of the sources as unified diff."""
        found: dict[str, str] = {}
        for one in self.diff.changes:
            if one.cause == "code" and one.place not in found:
                states = (self.diff.state_of(side, one.path) for side in (self.diff.a, self.diff.b))
                facts = [state.code.get(one.place, {}) for state in states]
                found[one.place] = self._code_change(one.place, *facts)
        return found

    def _code_change(self, tool: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
        try:
            sources = [self._source(tool, *one) for one in ((self.a, a), (self.b, b))]
        except StoreError as error:
            return str(error)
        told = changes(*sources, limit=200)
        if not told and a.get("version") != b.get("version"):
            return f"version {b.get('version')} instead of {a.get('version')}"
        return told or "the source is the same: a default, a free variable or a wrapper was changed"

    def _source(self, tool: str, run: Run, facts: Mapping[str, Any]) -> str | None:
        digest = facts.get("source")
        source = None if digest is None else str(codec.loads(run.store.blob(digest)))
        return source if source is None or self._redact is None else str(self._redact(f"code.{tool}", source))

    # --- tables ----------------------------------------------------------------------------

    def frame(self) -> pd.DataFrame:
        """The same as `steps`."""
        return self.steps()

    def steps(self) -> pd.DataFrame:
        """The steps of both runs, one row each, in the order of A.

        ====================  ========  ==================================================================
        column                dtype     meaning
        ====================  ========  ==================================================================
        step_id               str       id; in sub-workflows after those of the steps around it
        differs               bool      anything but durations and attempts differs
        cause                 object    the first cause: ``definition``, ``code``, ``presence``,
                                        ``parameters``, ``evidence``, ``decision``, ``output`` or
                                        ``status``; else None
        in_a, in_b            bool      whether the run has it
        status_a, status_b    object    how it ended
        definition, code,     Int64     in how many places each differs
        parameters, evidence,
        decisions, output
        attempts_a, …_b       Int64     attempts made
        duration_ms_a, …_b    float64   from scheduled to ended; missing for results of other runs
        duration_delta_ms     float64   B less A
        duration_ratio        float64   B divided by A
        ====================  ========  ==================================================================
        """
        return diffframes.steps(self.diff)

    def differences(self) -> pd.DataFrame:
        """Every place in which the runs differ, one row each, in the order of causes.

        =======  ======  ======================================================================
        column   dtype   meaning
        =======  ======  ======================================================================
        step_id  object  of which step; None for what is of the run as a whole
        cause    str     ``context``, ``definition``, ``code``, ``presence``, ``parameters``,
                         ``evidence``, ``decision``, ``output``, ``status`` or ``attempts``
        place    str     where in the value (``items[2].price``), at which decision, in which tool, in
                         which evidence (``invoice.data.total``)
        a, b     object  what is there; None where nothing is
        =======  ======  ======================================================================

        Of one value at most 200 places are listed.
        """
        return diffframes.changes(self.diff)

    def decisions(self) -> pd.DataFrame:
        """The decisions of both runs, one row each, aligned by step, point and occurrence.

        ========================  =======  ===========================================================
        column                    dtype    meaning
        ========================  =======  ===========================================================
        step_id                   object   of which step; None for those about the whole run
        decision_point            str      what had to be decided
        occurrence                Int64    the how manieth at this point, from 1
        differs                   bool     the runs part here
        effort                    bool     it is about how a result was come by: a retry, the cache
        decision_a, decision_b    object   what was chosen; None where it was not made
        rationale_a, rationale_b  object   why, if it was said
        because                   object   where they part: what it was based on that was different
        origin                    str      ``engine`` or ``user``
        ========================  =======  ===========================================================
        """
        return diffframes.decisions(self.diff)

    def evidence(self) -> pd.DataFrame:
        """The evidence of both runs, one row each, aligned by step, type and occurrence.

        ===================  =======  ==============================================================
        column               dtype    meaning
        ===================  =======  ==============================================================
        step_id              object   of which step; None for what is of the run as a whole
        evidence_type        str      what it is
        occurrence           Int64    the how manieth of this type, from 1
        differs              bool     its data, source, confidence or metadata is another
        effort               bool     it is of a try that failed, so that nothing came of it
        source_a, …_b        object   where it comes from; None where there is none
        confidence_score_…   float64  how far it can be trusted
        data_a, data_b       object   what it is about
        ===================  =======  ==============================================================
        """
        return diffframes.evidence(self.diff)

    def __repr__(self) -> str:
        try:
            told = headline(self.diff)
        except Exception as error:  # a repr must never raise
            told = str(error)
        return clean(f"<Comparison of {self.a.id} (A) with {self.b.id} (B): {told}>")


def compare(a: Any, b: Any, *, kit: Any = None, redact: Redact | None = None) -> Comparison:
    """Compare two runs: in what they differ, and at which decision they part.

    Args:
        a: A run, a result, a handle; or the id of a run, then with a kit.
        b: The other one. It is told by what it did instead of ``a``.
        kit: Whose runs the ids are; `orchkit.Kit.compare` is the same with its own.
        redact: ``redact(path, value)`` returns what is shown instead of a value, as in `Run.to_html`; it is
            asked about the source of functions as well, as ``code.NAME``. What differs is said to differ all
            the same, without the values.

    Raises:
        ParameterError: One of them is no run.
        UnknownNameError: There is no run of this id.
    """
    found = [_run_of(name, given, kit) for name, given in (("a", a), ("b", b))]
    for run in found:
        _ = run.state  # an unknown run is an error here, not in the first table
    return Comparison(found[0], found[1], redact)


def _run_of(name: str, given: Any, kit: Any) -> Run:
    if isinstance(given, Run):
        return given
    if isinstance(given, str):
        if kit is None:
            raise _wrong(name, f"{given!r} is an id, and no kit is given", "use kit.compare(a, b)")
        run = kit.runs[given]
    else:
        run = getattr(given, "run", None)
    if not isinstance(run, Run):
        raise _wrong(name, f"must be a run, a result or the id of a run, got {shorten(repr(given), 80)}")
    return run


def _wrong(name: str, cause: str, hint: str | None = None) -> ParameterError:
    return ParameterError("compare", [Problem(name, cause, hint)])
