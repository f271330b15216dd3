"""The check of definitions: each kind of mistake, all at once, and none where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from orchkit.engine.builder import WorkflowBuilder
from orchkit.engine.validation import check
from orchkit.errors import WorkflowValidationError
from orchkit.model.workflow import Compensation, StepDefinition, Workflow
from orchkit.registry.registry import Registry


def _step(step_id: str, tool: str = "anything", /, **fields: Any) -> StepDefinition:
    return StepDefinition(step_id=step_id, tool_name=tool, **fields)


def _workflow(*steps: StepDefinition, mode: str = "dag", **fields: Any) -> Workflow:
    return Workflow(name="w", steps=steps, execution_mode=mode, **fields)


CASE = _step("case", "create_casefile", parameters={"title": "t"})
FILES = _step("files", "list_drive_files")
INNER = Workflow(
    name="inner", steps=(_step("found", "search_gmail", parameters={"query": "${context.query}"}),)
)
SUB = StepDefinition(step_id="sub", workflow=INNER, parameters={"query": "q"})


# --- nothing to say ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "workflow",
    [
        _workflow(
            CASE, _step("s", "create_session", parameters={"casefile_id": "${steps.case.casefile_id}"})
        ),
        _workflow(
            _step("s", "create_session", parameters={"casefile_id": "${steps.case.casefile_id}"}), CASE
        ),
        _workflow(CASE, _step("n", "count", parameters={"n": "${steps.case.priority ?? 3}"})),
        _workflow(CASE, _step("n", "count", parameters={"n": "${context.anything.at[0].all}"})),
        _workflow(CASE, _step("q", "search_gmail", parameters={"query": "of ${steps.case.priority}"})),
        _workflow(_step("n", "count", parameters={"n": 3}, timeout=3, executor="inline"), timeout=3),
        _workflow(FILES, _step("m", "count", parameters={"n": "${index}"}, over="${steps.files}")),
        _workflow(
            FILES, _step("m", "search_gmail", parameters={"query": "${item.name}"}, over="${steps.files}")
        ),
        _workflow(_step("m", "count", parameters={"n": "${item}"}, over=[1, "${context.two}"])),
        _workflow(_step("m", "count", parameters={"n": "${item}"}, over="${context.rows ?? []}")),
        _workflow(
            _step("m", "anything", over=(), max_concurrency=2), _step("x", parameters={"y": "${steps.m[0]}"})
        ),
        _workflow(SUB, _step("b", "batch_get_sheets", parameters={"sheet_ids": "${steps.sub.found}"})),
        _workflow(
            _step("a", "create_casefile", parameters={"title": "${run.id}"}, compensate="create_casefile"),
            _step(
                "b",
                compensate={"tool": "delete_casefile", "params": {"casefile_id": "${steps.a.casefile_id}"}},
            ),
        ),
        _workflow(
            _step("a", compensate={"tool": "anything", "params": {"x": "${steps.a.id}", "y": "${steps.z}"}}),
            _step("z"),
            mode="parallel",
        ),
        _workflow(
            _step("weird id:x"), _step("b", parameters={"v": '${steps["weird id:x"].y}'}), mode="sequential"
        ),
        _workflow(_step("a"), _step("b", when="${steps.a.ok} and true", depends_on="a"), mode="sequential"),
    ],
)
def test_sound_definitions(registry: Registry, workflow: Workflow) -> None:
    """What can run is not complained about."""
    assert check(workflow, registry) == []


# --- one mistake, one problem --------------------------------------------------------------


@pytest.mark.parametrize(
    ("workflow", "where", "fragments"),
    [
        (_workflow(), "workflow 'w'", ["no steps"]),
        (_workflow(_step(" ")), "step ' ' (number 1)", ["empty"]),
        (_workflow(_step("a${b")), "step 'a${b'", ["contains '${'"]),
        (_workflow(_step("a"), _step("a")), "step 'a'", ["used twice", "1 and 2"]),
        (_workflow(_step("m", over=[1]), _step("m[0]")), "step 'm[0]'", ["item of map 'm'"]),
        (_workflow(_step("a"), _step("compensate:a")), "step 'compensate:a'", ["compensation of step 'a'"]),
        (_workflow(_step("a", "create_casfile")), "step 'a'", ["unknown tool", "'create_casefile'"]),
        (_workflow(_step("a", "")), "step 'a'", ["no tool"]),
        (_workflow(_step("a", "no.such.module:f")), "step 'a'", ["no.such.module"]),
        (
            _workflow(_step("fetch"), _step("b", depends_on="fetsh")),
            "step 'b'",
            ["'fetsh'", "did you mean 'fetch'"],
        ),
        (
            _workflow(CASE, _step("b", parameters={"x": ["${steps.cas.id}"]})),
            "step 'b'",
            ["parameter 'x[0]'", "${steps.cas.id}", "unknown step 'cas'", "did you mean 'case'"],
        ),
        (_workflow(CASE, _step("b", when="${steps.cas}")), "step 'b'", ["when", "unknown step 'cas'"]),
        (_workflow(_step("a", depends_on="a")), "step 'a'", ["depends_on", "the step itself"]),
        (_workflow(_step("a", parameters={"x": "${steps.a}"})), "step 'a'", ["the step itself"]),
        (
            _workflow(
                _step("a", parameters={"x": "${steps.c}"}),
                _step("b", depends_on="a"),
                _step("c", when="${steps.b}"),
            ),
            "step 'a'",
            ["a -> c -> b -> a"],
        ),
        (
            _workflow(_step("a", depends_on="b"), _step("b", depends_on="a"), mode="sequential"),
            "step 'a'",
            ["a -> b -> a"],
        ),
        (_workflow(_step("a", depends_on="b"), _step("b"), mode="sequential"), "step 'a'", ["'b'", "later"]),
        (
            _workflow(
                _step("a", parameters={"x": "${steps.b}"}, depends_on="b"), _step("b"), mode="sequential"
            ),
            "step 'a'",
            ["'b'", "later", "'dag'"],
        ),
        (
            _workflow(_step("a"), _step("b", depends_on="a"), mode="parallel"),
            "step 'b'",
            ["parallel mode", "'dag'"],
        ),
        (
            _workflow(
                _step("a"), _step("b", parameters={"x": "${steps.a}"}, depends_on="a"), mode="parallel"
            ),
            "step 'b'",
            ["'a'", "parallel mode"],
        ),
        (
            _workflow(CASE, _step("b", parameters={"x": "${steps.case.casfile_id}"})),
            "step 'b'",
            ["Casefile", "no field 'casfile_id'", "did you mean 'casefile_id'"],
        ),
        (
            _workflow(CASE, _step("b", parameters={"x": "${steps.case.casfile_id ?? 0}"})),
            "step 'b'",
            ["no field 'casfile_id'"],
        ),
        (_workflow(CASE, _step("b", when="${steps.case.id} == 1")), "step 'b'", ["when", "no field 'id'"]),
        (
            _workflow(FILES, _step("b", parameters={"x": "${steps.files[0].nme}"})),
            "step 'b'",
            ["Row", "'name'"],
        ),
        (
            _workflow(FILES, _step("b", parameters={"x": "${steps.files.name}"})),
            "step 'b'",
            ["list[Row]", "'name'"],
        ),
        (_workflow(SUB, _step("b", parameters={"x": "${steps.sub.fund}"})), "step 'b'", ["inner", "'found'"]),
        (
            _workflow(CASE, _step("b", "count", parameters={"n": "${steps.case.casefile_id}"})),
            "step 'b'",
            ["parameter 'n'", "str", "expected int"],
        ),
        (
            _workflow(CASE, _step("b", "count", parameters={"n": ["${steps.case}"]})),
            "step 'b'",
            ["list", "int"],
        ),
        (_workflow(CASE, _step("b", "count", parameters={"n": "no ${run.id}"})), "step 'b'", ["str", "int"]),
        (
            _workflow(_step("b", "count", parameters={"n": "many"})),
            "step 'b'",
            ["parameter 'n'", "'many'", "int"],
        ),
        (_workflow(_step("b", "count")), "step 'b'", ["parameter 'n'", "missing", "int"]),
        (
            _workflow(_step("b", "count", parameters={"n": 1, "zzz": 2})),
            "step 'b'",
            ["'zzz'", "unknown parameter"],
        ),
        (
            _workflow(_step("b", "count", parameters={"n": 1, "zzz": "${run.id}"})),
            "step 'b'",
            ["'zzz'", "unknown"],
        ),
        (
            _workflow(_step("b", "create_casefile", parameters={"titel": "t"})),
            "step 'b'",
            ["'titel'", "did you mean 'title'"],
        ),
        (
            _workflow(_step("b", "create_casefile", parameters={"titel": "${run.id}"})),
            "step 'b'",
            ["'titel'", "did you mean 'title'"],
        ),
        (
            _workflow(_step("b", parameters={"x": "${steps.b"})),
            "step 'b'",
            ["parameter 'x'", "unclosed", "position 9"],
        ),
        (_workflow(_step("b", over="${")), "step 'b'", ["over", "unclosed"]),
        (_workflow(_step("b", when="${context.x} &&")), "step 'b'", ["when", "'and'"]),
        (_workflow(_step("b", parameters={"x": "${item}"})), "step 'b'", ["${item}", "map", "add_map"]),
        (_workflow(_step("b", parameters={"x": "${index}"})), "step 'b'", ["${index}", "map"]),
        (_workflow(_step("b", over="${item.rows}")), "step 'b'", ["over", "${item.rows}"]),
        (_workflow(_step("b", over=[1], when="${item} > 1")), "step 'b'", ["when", "${item}"]),
        (_workflow(_step("b", over="rows")), "step 'b'", ["over", "'rows'", "list"]),
        (_workflow(_step("b", over="x ${run.id}")), "step 'b'", ["over", "one reference"]),
        (_workflow(_step("b", over={"a": 1})), "step 'b'", ["over", "list"]),
        (_workflow(CASE, _step("b", over="${steps.case}")), "step 'b'", ["over", "Casefile", "not a list"]),
        (_workflow(CASE, _step("b", over="${steps.case.casefile_id}")), "step 'b'", ["over", "str"]),
        (
            _workflow(
                _step("a", "create_session", parameters={"casefile_id": "x"}), _step("b", over="${steps.a}")
            ),
            "step 'b'",
            ["dict"],
        ),
        (
            _workflow(
                FILES, _step("m", "search_gmail", parameters={"query": "${item.nam}"}, over="${steps.files}")
            ),
            "step 'm'",
            ["${item.nam}", "Row", "'name'"],
        ),
        (
            _workflow(
                FILES,
                _step(
                    "m", "batch_get_sheets", parameters={"sheet_ids": "${item.name}"}, over="${steps.files}"
                ),
            ),
            "step 'm'",
            ["str", "list[str]"],
        ),
        (
            _workflow(_step("m", "count", parameters={"n": "${item}"}, over=[[1], [2]])),
            "step 'm'",
            ["list", "int"],
        ),
        (_workflow(_step("b", executor="thread")), "step 'b'", ["executor 'thread'", "'threads'"]),
        (_workflow(_step("b", timeout=5), timeout=4), "step 'b'", ["5 s", "4 s"]),
        (_workflow(_step("b", timeout={"total": 9}), timeout=4), "step 'b'", ["9 s", "4 s"]),
        (_workflow(_step("b", max_concurrency=2)), "step 'b'", ["max_concurrency", "not a map"]),
        (_workflow(_step("b", compensate="undo")), "step 'b'", ["compensation", "unknown tool", "'undo'"]),
        (
            _workflow(_step("b", "create_casefile", parameters={"title": "t"}, compensate="delete_casefile")),
            "step 'b'",
            ["compensation 'delete_casefile'", "'title': unknown", "'casefile_id': missing", "params"],
        ),
        (
            _workflow(_step("m", over=[1], compensate="anything")),
            "step 'm'",
            ["compensation", "parameters of its own"],
        ),
        (
            _workflow(
                _step("b", compensate=Compensation(tool_name="anything", parameters={"x": "${steps.c}"}))
            ),
            "step 'b'",
            ["compensation parameter 'x'", "unknown step 'c'"],
        ),
        (
            _workflow(_step("b", compensate=Compensation(tool_name="anything", parameters={"x": "${steps"}))),
            "step 'b'",
            ["compensation parameter 'x'", "unclosed"],
        ),
        (
            _workflow(
                _step(
                    "b", over=[1], compensate=Compensation(tool_name="anything", parameters={"x": "${item}"})
                )
            ),
            "step 'b'",
            ["compensation parameter 'x'", "${item}"],
        ),
        (
            _workflow(StepDefinition(step_id="sub", workflow=_workflow(_step("x", "none")))),
            "step 'sub' > step 'x'",
            ["unknown tool"],
        ),
        (
            _workflow(StepDefinition(step_id="sub", workflow=_workflow())),
            "step 'sub' > workflow 'w'",
            ["no steps"],
        ),
        (
            _workflow(StepDefinition(step_id="sub", workflow=INNER, parameters={"qery": "q"})),
            "step 'sub' > step 'found'",
            ["${context.query}", "did you mean 'qery'"],
        ),
        (_workflow(SUB.model_copy(update={"tool_name": "anything"})), "step 'sub'", ["both a tool"]),
        (_workflow(SUB.model_copy(update={"over": [1]})), "step 'sub'", ["both a map and a sub-workflow"]),
        (_workflow(SUB.model_copy(update={"executor": "inline"})), "step 'sub'", ["executor has no effect"]),
    ],
)
def test_each_mistake_is_one_problem(
    registry: Registry, workflow: Workflow, where: str, fragments: Sequence[str]
) -> None:
    """A single mistake gives exactly one problem, which names the step, the cause and often the way out."""
    (problem,) = check(workflow, registry)
    assert problem.where == where
    for fragment in fragments:
        assert fragment in str(problem)


# --- all at once ---------------------------------------------------------------------------


def test_eight_mistakes_are_eight_problems(registry: Registry) -> None:
    """A workflow with eight different mistakes is refused with eight problems, each naming step and cause."""
    builder = (
        WorkflowBuilder("everything wrong", registry=registry)
        .with_execution_mode("dag")
        .add_step("create_casefil", {"title": "t"}, step_id="typo")
        .add_step("create_casefile", {"title": "t"}, step_id="case")
        .add_step("create_casefile", {"title": "u"}, step_id="case")
        .add_step("anything", step_id="egg", depends_on="hen")
        .add_step("anything", step_id="hen", depends_on="egg")
        .add_step("anything", {"x": "${steps.caes.casefile_id}"}, step_id="lost")
        .add_step("create_session", {"casefile_id": "${steps.mail.stored}"}, step_id="field")
        .add_step("store_gmail_messages", {"casefile_id": "c", "query": "q"}, step_id="mail")
        .add_step("count", {"n": "${steps.mail.ids}"}, step_id="type")
        .add_step("search_gmail", {}, step_id="missing")
        .add_step("anything", when="${context.go} and", step_id="condition")
    )
    with pytest.raises(WorkflowValidationError) as caught:
        builder.build()
    found = {problem.where: str(problem) for problem in caught.value.problems}
    expected = {
        "step 'typo'": "unknown tool or method 'create_casefil'; did you mean 'create_casefile'",
        "step 'case'": "used twice",
        "step 'egg'": "egg -> hen -> egg",
        "step 'lost'": "unknown step 'caes'",
        "step 'field'": "no field 'stored'",
        "step 'type'": "list[str], expected int",
        "step 'missing'": "parameter 'query': missing",
        "step 'condition'": "invalid syntax",
    }
    assert len(caught.value.problems) == len(expected) == 8
    assert found.keys() == expected.keys()
    for where, cause in expected.items():
        assert cause in found[where]
        assert found[where] in str(caught.value)


def test_separate_cycles_are_all_shown(registry: Registry) -> None:
    """Each knot of steps that depend on each other gives a path of its own."""
    steps = [_step(f"{knot}{n}", depends_on=f"{knot}{(n + 1) % 3}") for knot in "xyz" for n in range(3)]
    found = [problem.cause for problem in check(_workflow(*steps), registry)]
    assert [cause.partition(": ")[2] for cause in found] == [
        "x0 -> x1 -> x2 -> x0",
        "y0 -> y1 -> y2 -> y0",
        "z0 -> z1 -> z2 -> z0",
    ]


def test_a_long_cycle_is_shortened(registry: Registry) -> None:
    """The path of a very long cycle shows its beginning and how it closes."""
    steps = [_step(f"s{n}", depends_on=f"s{(n + 1) % 2_000}") for n in range(2_000)]
    (problem,) = check(_workflow(*steps), registry)
    assert "s0 -> s1 -> s2" in problem.cause
    assert problem.cause.endswith("… -> s1999 -> s0")
    assert len(problem.cause) < 300


def test_a_parameter_and_a_reference_can_both_be_wrong(registry: Registry) -> None:
    """Mistakes of one step do not hide each other."""
    workflow = _workflow(
        CASE,
        _step(
            "b", "count", parameters={"n": "${steps.case.casefile_id}", "m": "${steps.gone}"}, executor="gpu"
        ),
    )
    causes = " | ".join(str(problem) for problem in check(workflow, registry))
    for fragment in ("expected int", "'m': unknown parameter", "unknown step 'gone'", "executor 'gpu'"):
        assert fragment in causes
    assert len(check(workflow, registry)) == 4


@pytest.mark.parametrize(
    ("workflow", "causes"),
    [
        (_workflow(_step("b", "count", parameters={"n": "${steps.b"})), ["unclosed"]),
        (_workflow(_step("m", "count", parameters={"n": "${item.x}"}, over="${steps.b")), ["unclosed"]),
        (
            _workflow(_step("a", "none"), _step("b", "count", parameters={"n": "${steps.a.x}"})),
            ["unknown tool or method 'none'"],
        ),
        (
            _workflow(CASE, CASE, _step("b", "count", parameters={"n": "${steps.case.casefile_id}"})),
            ["used twice"],
        ),
        (
            _workflow(_step("b", "count", parameters={"n": "${steps.a.x}"}), mode="sequential"),
            ["unknown step 'a'"],
        ),
    ],
)
def test_no_mistakes_that_only_follow(registry: Registry, workflow: Workflow, causes: list[str]) -> None:
    """What cannot be known because of a mistake elsewhere is not guessed at."""
    problems = check(workflow, registry)
    assert len(problems) == len(causes)
    for problem, cause in zip(problems, causes, strict=True):
        assert cause in problem.cause


def test_a_tool_with_parameters_of_its_own(registry: Registry) -> None:
    """A step is held to the parameters of the tool that it names, not to those of the method behind."""

    def face(n: int = 1) -> int:
        """Offers one parameter."""
        return n

    registry.tools.register_tool("face", "anything", face=face)
    assert check(_workflow(_step("a", "face", parameters={"n": "${context.n}"})), registry) == []
    (problem,) = check(_workflow(_step("a", "face", parameters={"m": "${context.n}"})), registry)
    assert "parameter 'm': unknown parameter" in problem.cause


def test_services_are_not_parameters(registry: Registry) -> None:
    """What the registry injects is not missing, and cannot be given by a step."""

    class Mailbox:
        pass

    def send(text: str, mailbox: Mailbox) -> None:
        """Needs a service."""

    registry.services.register(Mailbox, Mailbox())
    registry.methods.register_method(send)
    assert check(_workflow(_step("a", "send", parameters={"text": "t"})), registry) == []
    for value in (1, "${run.id}"):
        workflow = _workflow(_step("a", "send", parameters={"text": "t", "mailbox": value}))
        (problem,) = check(workflow, registry)
        assert "'mailbox'" in problem.cause


def test_other_executors(registry: Registry) -> None:
    """The executors that an engine has can be named."""
    workflow = _workflow(_step("a", executor="processes"))
    assert check(workflow, registry, executors=("processes",)) == []


def test_many_mistakes_are_reported_in_good_time(registry: Registry) -> None:
    """A generated workflow in which every reference is wrong is refused without comparing all names."""
    steps = [_step(f"step{n}", parameters={"x": f"${{steps.stp{n}}}"}) for n in range(3_000)]
    problems = check(_workflow(*steps), registry)
    assert len(problems) == 3_000
    assert problems[0].hint is None


# --- how problems are said -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "written"),
    [
        ("${steps.gift order.x}", '${steps["gift order"].x}'),
        ("of ${ steps.gift order } and", '${steps["gift order"]}'),
        ("${steps.gift order.rows[0].x ?? 1}", '${steps["gift order"].rows[0].x}'),
        ("${steps.gift order (2).x}", '${steps["gift order (2)"].x}'),
        ("${steps.files.read.rows}", '${steps["files.read"].rows}'),
        ("${steps.not there.x}", '${steps["not there"].x}'),
    ],
)
@pytest.mark.parametrize("place", ["parameters", "when", "compensate"])
def test_an_id_that_needs_quotes(registry: Registry, reference: str, written: str, place: str) -> None:
    """A reference to an id with spaces, dots or other signs says how to write it."""
    ids = [_step(step_id) for step_id in ("gift order", "gift order (2)", "files.read")]
    value: Any = {"x": reference}
    if place == "when":
        value = f"{reference} == 1"
    elif place == "compensate":
        value = Compensation(tool_name="anything", parameters=value)
    (problem,) = check(_workflow(*ids, _step("b", **{place: value})), registry)
    assert problem.hint == f"write {written}"


def test_another_mode_is_proposed_once(registry: Registry) -> None:
    """The problems of a wrong mode read well, and only the first of a workflow says what would help."""
    steps = (_step("a"), _step("b", depends_on="a"), _step("c", parameters={"x": "${steps.a}"}))
    inner = StepDefinition(step_id="sub", workflow=_workflow(*steps, mode="parallel"))
    found = [str(problem) for problem in check(_workflow(*steps, inner, mode="parallel"), registry)]
    tail = "names step 'a', but in parallel mode all steps start at once"
    assert found == [
        f"step 'b': depends_on {tail} (use execution mode 'dag')",
        f"step 'c': parameter 'x': ${{steps.a}} {tail}",
        f"step 'sub' > step 'b': depends_on {tail} (use execution mode 'dag')",
        f"step 'sub' > step 'c': parameter 'x': ${{steps.a}} {tail}",
    ]


def test_a_type_is_said_once(registry: Registry) -> None:
    """Where expected and given are told, nothing repeats it; what goes beyond the type stays."""
    (problem,) = check(_workflow(_step("b", "count", parameters={"n": "many"})), registry)
    assert str(problem) == "step 'b': parameter 'n': expected int, got 'many' (str)"
    inside = _step("b", "batch_get_sheets", parameters={"sheet_ids": ["a", 5]})
    (problem,) = check(_workflow(inside), registry)
    assert problem.hint == "[1]: Input should be a valid string"


LONG = "x" * 5_000


@pytest.mark.parametrize(
    "step",
    [
        _step("b", "count", parameters={"n": LONG}),
        _step("b", "count", parameters={"n": LONG + "${run.id}"}),
        _step("b", parameters={"n": LONG + "${steps.}" + LONG}),
        _step("b", over=LONG),
        _step("b", over={"rows": [LONG]}),
        _step("b", "delete_casefile", parameters={"casefile_id": "${steps.casex}"}),
    ],
)
def test_problems_stay_readable(registry: Registry, step: StepDefinition) -> None:
    """However long the values are, a problem fits into a line or so."""
    others = [_step(f"a_step_with_quite_a_long_name_{number}") for number in range(5)]
    problems = check(_workflow(*others, step), registry)
    assert problems
    assert all(len(str(problem)) <= 170 for problem in problems), problems


def test_a_fault_in_a_long_text_is_shown_with_what_is_around_it(registry: Registry) -> None:
    """Of a long text the message has the part with the fault, and still its position."""
    text = LONG + " before ${steps.} after " + LONG
    (problem,) = check(_workflow(_step("b", parameters={"n": text})), registry)
    assert "position 5015" in problem.cause
    assert " before ${steps.} after " in problem.cause
    assert problem.cause.endswith("…'")


def test_problems_come_in_the_order_of_the_steps(registry: Registry) -> None:
    """A cycle stands where its first step does, not behind everything."""
    workflow = _workflow(
        _step("egg", depends_on="hen"), _step("hen", depends_on="egg"), _step("typo", "create_casefil")
    )
    assert [problem.where for problem in check(workflow, registry)] == ["step 'egg'", "step 'typo'"]
