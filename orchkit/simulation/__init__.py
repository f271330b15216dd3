"""Workflows in virtual time against services that fail as told: see `orchkit.simulate`.

Fault models, each for one tool or for all (``"*"``); several of them add up:

- `Latency`: how long calls take;
- `Failures`: calls fail independently of each other;
- `Bursts`: the service is up and down for random times;
- `Outages`: it is down at given times;
- `SlowDowns`: it is slow at given times;
- `Recorded`: calls behave like attempts on record, drawn at random.

Models of your own have one method, ``start(luck)``, that gives a function of a `SimulatedCall`; see
`FaultModel` and `Luck`.
"""

from orchkit.simulation.luck import Luck, SimulatedCall
from orchkit.simulation.models import (
    Behaviour,
    Bursts,
    Failures,
    FaultModel,
    Latency,
    Outages,
    Recorded,
    SimulatedError,
    SlowDowns,
)
from orchkit.simulation.result import Simulation
from orchkit.simulation.simulate import simulate

__all__ = [
    "Behaviour",
    "Bursts",
    "Failures",
    "FaultModel",
    "Latency",
    "Luck",
    "Outages",
    "Recorded",
    "SimulatedCall",
    "SimulatedError",
    "Simulation",
    "SlowDowns",
    "simulate",
]
