"""Executing something at most once per key: claims, replays, and who may go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchkit.errors import Difference, DuplicateRequestError, IdempotencyConflictError, OrchestrationError
from orchkit.model import event as ev
from orchkit.model.differences import differences
from orchkit.model.event import Event
from orchkit.model.idempotency import IdempotencyKey, RequestStatus
from orchkit.model.workflow import essence_of
from orchkit.store import codec
from orchkit.store.claims import Answer, Claim, Wanted, fingerprint
from orchkit.store.store import Store

FIRST_POLL_S, LAST_POLL_S = 0.005, 0.25
INPUT_BYTES = 16 * 1024
"""Larger inputs are looked up in the record when it is to be said how they differ."""
_MOST_TYPES = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to execute something under a key."""

    name: str
    key: IdempotencyKey
    packed: codec.Packed
    """The input that the key is bound to."""
    fingerprint: str
    definition: Callable[[], Mapping[str, Any]] | None = None
    """For a workflow, whose input has the hash of its definition only: the definition itself."""

    @classmethod
    def of(
        cls,
        name: str,
        key: IdempotencyKey,
        packed: codec.Packed,
        definition: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Asked:
        """The same with its fingerprint."""
        return cls(name, key, packed, fingerprint(name, packed), definition)


class Granted(NamedTuple):
    """The right to execute, under a run id; with ``goes_on`` the run of an owner that died."""

    claim: Claim
    goes_on: bool
    decision: Mapping[str, Any]
    """For the record: why it is executed."""


class Replay(NamedTuple):
    """The recorded result is the answer."""

    claim: Claim


class Once:
    """Idempotency keys as the engine uses them; one per store."""

    def __init__(self, store: Store) -> None:
        self._store, self._claims = store, store.claims

    def recorded(self, asked: Asked, *, at_hand: bool = False) -> Replay | None:
        """The recorded result, if there is one that answers: a single look-up, from any thread.

        With ``at_hand`` not one that is so large that it must be looked up in the history.
        """
        claim = self._claims.find(asked.key.key)
        if (
            claim is None
            or (at_hand and claim.result is None)
            or claim.status != RequestStatus.COMPLETED
            or claim.fingerprint != asked.fingerprint
            or claim.expires_us <= self._store.clock.now_us()
        ):
            return None
        self._claims.replayed(claim)
        self._store.ingest_soon()
        return Replay(claim)

    async def claim(self, asked: Asked, run_id: str) -> Granted | Replay:
        """Get the right to execute, or the recorded result; waits for another's when that was asked for.

        Raises `DuplicateRequestError`, `IdempotencyConflictError`, and `OrchestrationError` for a request
        that failed before and is not to be executed again.
        """
        text = codec.dumps(asked.packed.value)
        key = asked.key
        wanted = Wanted(
            key.key,
            asked.name,
            asked.fingerprint,
            text if len(text) <= INPUT_BYTES else None,
            key.ttl_us,
            key.on_failed,
        )
        pause = FIRST_POLL_S
        while True:
            answer = self._claims.acquire(wanted, run_id)
            if answer.verdict == "conflict":  # the history must not hold up what else runs on this loop
                return await asyncio.to_thread(self._accept, asked, answer)
            if answer.verdict != "in_flight" or key.on_in_flight == "raise":
                return self._accept(asked, answer)
            await self._store.clock.sleep(pause)
            pause = min(2 * pause, LAST_POLL_S)

    def claim_again(self, key: str, run_id: str) -> Granted | None:
        """The right to go on with a run under the key that it was executed under.

        None when the key has been used for another run since, is being worked on, or its time is over.
        """
        found = self._claims.find(key)
        if (
            found is None
            or found.run_id != run_id
            or found.status == RequestStatus.COMPLETED
            or found.expires_us <= self._store.clock.now_us()
        ):
            return None
        ttl_us = max(1, found.expires_us - found.created_us)
        answer = self._claims.acquire(Wanted(key, found.name, found.fingerprint, found.input, ttl_us), run_id)
        if answer.verdict not in ("execute", "take_over"):
            return None
        return Granted(answer.claim, answer.verdict == "take_over", _why(answer))

    def in_flight(self, asked: Asked, holder: str | None = None) -> DuplicateRequestError:
        """The error for a request that is being executed by somebody else."""
        found = self._claims.find(asked.key.key)
        holder = holder or (str(found.process) if found else "somebody")
        run_id = found.run_id if found else None
        return DuplicateRequestError(asked.name, asked.key.key, holder, run_id=run_id)

    def _accept(self, asked: Asked, answer: Answer) -> Granted | Replay:
        claim, key = answer.claim, asked.key.key
        if answer.verdict == "replay":
            self._claims.replayed(claim)
            self._store.ingest_soon()
            return Replay(claim)
        if answer.verdict == "in_flight":
            raise DuplicateRequestError(asked.name, key, str(claim.process), run_id=claim.run_id)
        if answer.verdict == "conflict":
            found = self._differences(asked, claim)
            raise IdempotencyConflictError(
                asked.name,
                key,
                found,
                run_id=claim.run_id,
                other=claim.name if claim.name != asked.name else None,
                unlike=None if claim.input is None else _unlike(asked.packed.notes),
            )
        if answer.verdict == "refuse":
            cause = f"it failed before: {claim.error}"
            raise OrchestrationError(asked.name, key, cause, run_id=claim.run_id)
        return Granted(claim, answer.verdict == "take_over", _why(answer))

    def _differences(self, asked: Asked, claim: Claim) -> list[Difference]:
        """Field by field; also the name, which belongs to what the key is bound to."""
        found = list(differences({"name": claim.name}, {"name": asked.name}))
        given = asked.packed.value
        recorded = codec.loads(claim.input) if claim.input else _input_of(self._store.events(claim.run_id))
        if found or recorded is None:
            return found  # of another kind, or swept: nothing to compare field by field
        if asked.definition is not None and recorded.get("definition") != given["definition"]:
            # Hashes say nothing to people.
            given = {**given, "definition": asked.definition()}
            recorded = {**recorded, "definition": self._definition(claim)}
        return list(differences(recorded, given))

    def _definition(self, claim: Claim) -> Any:
        events = self._store.events(claim.run_id)
        definition = events[0].payload.get("definition") if events else None
        return essence_of(definition) if definition else None

    # --- settling --------------------------------------------------------------------------

    def settle(self, claim: Claim, *, result: str | None, error: str | None) -> None:
        """Say what came of it, with the events that end the run: a result, or else an error."""
        status = RequestStatus.COMPLETED if error is None else RequestStatus.FAILED
        if result is not None and len(result) > codec.BLOB_BYTES:
            result = None  # it is in the record of the run
        self._claims.settle(claim, status, result=result, error=error)

    def finish(self, claim: Claim) -> bool:
        """Let go of the claim, after the commit; whether it was ours until the end."""
        return self._claims.finish(claim)

    def give_up(self, claim: Claim) -> None:
        """Let go of a claim whose end could not be recorded: whoever asks next may take it over."""
        self._claims.give_up(claim)

    def lost(self, claim: Claim) -> DuplicateRequestError:
        """The error for an execution whose claim was taken over while it went on."""
        found = self._claims.find(claim.key)
        holder = str(found.process) if found else "nobody any more"
        return DuplicateRequestError(
            claim.name, claim.key, f"{holder}, which took it over", run_id=claim.run_id
        )


def _unlike(notes: Sequence[Any]) -> str:
    """What is said of an input that reads as the recorded one did and is not of the same Python types."""
    given = [f"{'.'.join(map(str, note[0]))} is a {note[1]}" for note in notes[:_MOST_TYPES] if len(note) > 1]
    return "the values are equal, their Python types are not: given, " + (
        "; ".join(given) if given else "everything is plain data, such as a list where a tuple was recorded"
    )


def _why(answer: Answer) -> dict[str, Any]:
    claim = answer.claim
    reasons = {
        None: "no earlier request has this key",
        "expired": "the earlier request with this key has expired",
        "failed": "the earlier request with this key failed",
        "taken over": "the process that executed it is gone",
    }
    return {
        "point": "idempotency",
        "decision": answer.verdict,
        "rationale": reasons[answer.reason],
        "input_data": {"key": claim.key, "execution": claim.execution, "fingerprint": claim.fingerprint},
    }


def workflow_input(context: codec.Packed, essence_hash: str) -> codec.Packed:
    """What the key of a workflow is bound to."""
    notes = [[["context", *note[0]], *note[1:]] for note in context.notes]
    return codec.Packed({"context": context.value, "definition": essence_hash}, notes)


def _input_of(events: list[Event]) -> Any:
    """What a run was given, as its record tells; None when there is no record (any more)."""
    for event in events:
        payload = event.payload
        if event.kind == ev.RUN_STARTED and payload.get("kind") == "workflow":
            text = codec.canonical(essence_of(payload.get("definition") or {}))
            return {"context": payload.get("context"), "definition": codec.content_hash(text)}
        if event.kind == ev.STEP_SCHEDULED:
            return payload.get("input")
    return None
