"""Workflows in virtual time against services that fail as told: see `orchkit.simulate`.

Fault models, each for one tool or for all (``"*"``); several of them add up:

- `Latency`: how long calls take;
- `Failures`: calls fail independently of each other;
- `Bursts`: the service is up and down for random times;
- `Outages`: it is down at given times;
- `SlowDowns`: it is slow at given times;
- `Recorded`: calls behave like attempts on record, drawn at random.

`simulate_checks` makes histories of health checks out of the same models.

Models of your own have one method, ``start(luck)``, that gives a function of a `SimulatedCall`; see
`FaultModel` and `Luck`.
"""

from orchkit.simulation.checks import Monitoring, WatchedService, simulate_checks
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
    "Monitoring",
    "Outages",
    "Recorded",
    "SimulatedCall",
    "SimulatedError",
    "Simulation",
    "SlowDowns",
    "WatchedService",
    "simulate",
    "simulate_checks",
]
