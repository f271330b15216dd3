"""A workflow compiled once and run many times."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchkit.engine.options import RunOptions
from orchkit.engine.plan import Plan, compile_plan
from orchkit.engine.recorder import RunRecorder
from orchkit.engine.validation import check
from orchkit.errors import WorkflowValidationError
from orchkit.model.request import NO_DIRECTIVES, ExecutionDirective
from orchkit.model.workflow import Workflow
from orchkit.registry.definition import MethodDefinition
from orchkit.registry.registry import Registry
from orchkit.store import codec
from orchkit.store.store import Store

KEPT = 64
MANY_STEPS = 2_000


class Compiled:
    """A plan, and what the record says of its definition."""

    __slots__ = (
        "_below",
        "_code",
        "_essence_hash",
        "_large",
        "_store",
        "definition",
        "definition_hash",
        "plan",
    )

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self._store = plan, store
        self._below: dict[str, Compiled] = {}
        self._code: dict[str, dict[str, Any]] | None = None
        self._large: dict[str, str] = {}
        self._essence_hash: str | None = None
        definition = plan.workflow.to_anonymous()
        text = codec.dumps(definition)
        self.definition_hash = codec.content_hash(text)
        self.definition: Any = definition
        if len(text) > codec.BLOB_BYTES:
            self._large[self.definition_hash] = text
            self.definition = {"$blob": self.definition_hash, "bytes": len(text)}

    @property
    def essence_hash(self) -> str:
        """Of what the workflow does, whatever its policies: see `Workflow.to_essence`."""
        if self._essence_hash is None:
            text = codec.canonical(self.plan.workflow.to_essence())
            self._essence_hash = codec.content_hash(text)
        return self._essence_hash

    @property
    def code(self) -> dict[str, dict[str, Any]]:
        """What the steps call, by tool name: ``{hash, source, version}``, the source by its hash."""
        if self._code is None:
            targets = {node.target.name: node.target for node in self.plan.nodes.values() if node.target}
            self._code = {name: code_facts(target.method, self._large) for name, target in targets.items()}
        return self._code

    def below(self, step_id: str, plan: Plan) -> Compiled:
        """The sub-workflow of a step, described once however often it runs."""
        found = self._below.get(step_id)
        if found is None:
            found = self._below[step_id] = Compiled(plan, self._store)
        return found

    def run_started(self, options: RunOptions, recorder: RunRecorder) -> dict[str, Any]:
        """The payload of the run.started event, to be appended `together` with the large values put here."""
        workflow = self.plan.workflow
        context = codec.pack(dict(options.context), "context")
        payload = {
            "kind": "workflow",
            "name": workflow.name,
            "workflow_id": workflow.workflow_id,
            "definition_hash": self.definition_hash,
            "definition": self.definition,
            "user_id": options.user_id,
            "session_id": options.session_id,
            "casefile_id": options.casefile_id,
            "request_id": options.request_id,
            "context": context.value,
            "durability": recorder.durability,
            "parent_run_id": options.parent_run_id,
            "parent_step_id": options.parent_step_id,
            "code": self.code,
        }
        if options.simulated is not None:
            payload["simulated"] = options.simulated
        if context.notes:
            payload["types"] = context.notes
        if options.directives is not NO_DIRECTIVES and (directives := _described(options.directives)):
            payload["directives"] = directives
        self.put_large()
        return payload

    def put_large(self) -> None:
        """Put the large values that events about this definition name."""
        for digest, text in self._large.items():
            self._store.put_blob(text, digest)


def _described(directives: ExecutionDirective) -> dict[str, Any]:
    """What a run that goes on must still know of them."""
    lasting = {"skip_hooks", "execution_mode", "timeout"}
    return directives.model_dump(mode="json", include=lasting, exclude_defaults=True)


def code_facts(method: MethodDefinition, large: dict[str, str]) -> dict[str, Any]:
    """What the record says of the code of a method; its source goes to the large values, by hash."""
    code = method.code
    facts: dict[str, Any] = {"hash": code.hash}
    if code.source is not None:
        text = codec.dumps(code.source)
        facts["source"] = codec.content_hash(text)
        large[facts["source"]] = text
    if code.version is not None:
        facts["version"] = code.version
    return facts


class CompiledCache:
    """The last workflows that were run, compiled; a change in the registry compiles anew."""

    def __init__(self, registry: Registry, store: Store) -> None:
        self._registry, self._store = registry, store
        self._kept: OrderedDict[int, tuple[Workflow, int, Compiled]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, workflow: Workflow) -> Compiled:
        """Raises `WorkflowValidationError` with all problems of a definition that is not sound."""
        key = id(workflow)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept[0] is workflow and kept[1] == self._registry.revision:
                self._kept.move_to_end(key)
                return kept[2]
        with _garbage_kept(len(workflow.steps) > MANY_STEPS):
            problems = check(workflow, self._registry)
            if problems:
                raise WorkflowValidationError(workflow.name, problems)
            # Not before the check, which imports lazy tools, nor after the plan, which may be old by then.
            revision = self._registry.revision
            compiled = Compiled(compile_plan(workflow, self._registry), self._store)
        with self._lock:
            # The workflow is kept too, so that its id cannot be given to another one meanwhile.
            self._kept[key] = (workflow, revision, compiled)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return compiled


@contextmanager
def _garbage_kept(keep: bool) -> Iterator[None]:
    """Make many objects that all stay without the collector looking through them again and again.

    For 100,000 steps that looking was 70 % of the time.
    """
    if not (keep and gc.isenabled()):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
