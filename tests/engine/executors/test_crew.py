"""The driver's side of agents in other processes."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import closing
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from paribus.engine.building.work import Outcome
from paribus.engine.running.executors.crew import Crew, Door, Hand, Launcher
from paribus.engine.running.executors.serving import Closing, Failed, Noted, _listen
from paribus.engine.running.messages import Lease, Lost, Ready, Saved


class NobodyComes(Launcher):
    def launch(self, number: int) -> None: ...

    def fate(self, number: int) -> None: ...


def test_what_a_slow_agent_says_of_earlier_runs_is_passed_over(tmp_path: Path) -> None:
    """Two runs were over before it had read their work, whose files are gone by then."""
    here, there = Pipe()
    idle = [Hand(here, os.getpid())]
    with closing(Door()) as door, closing(here), closing(there):
        *earlier, present = (Crew(1, door, NobodyComes(), idle, tmp_path, None, print) for _ in range(3))
        for crew in earlier:
            crew.start(0)
            crew.dismiss()
        present.start(7)
        told = Saved(0, "key", Outcome("key", "done", 1, {}, True))
        for said in (Ready(0), told, Closing(), Failed(FileNotFoundError("work")), Closing(), Ready(7)):
            there.send(said)
        assert present.receive(1.0) == [Ready(7)]
        heard = [there.recv() for _ in range(6)]
        assert heard.count(Noted()) == 1, "it would wait for ever for the row of what it saved"


def test_only_the_word_that_its_progress_has_a_row_lets_an_agent_go_on() -> None:
    here, there = Pipe()
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    noted = threading.Semaphore(0)
    listening = threading.Thread(target=_listen, args=(there, inbox, noted))
    listening.start()
    here.send(b"a lease")
    assert inbox.get() == b"a lease"
    assert not noted.acquire(blocking=False)
    here.send(Noted())
    assert noted.acquire(timeout=60)
    here.send(None)
    listening.join()
    assert noted.acquire(blocking=False), "what is waited for after the end never comes"


def test_a_lease_for_an_agent_that_ended_before_its_loss_was_heard_is_passed_over(tmp_path: Path) -> None:
    """What it said last and its end come together, and the scheduler answers the first with a lease."""
    here, there = Pipe()
    with closing(Door()) as door, closing(here):
        crew = Crew(1, door, NobodyComes(), [Hand(here, os.getpid())], tmp_path, None, print)
        crew.start(0)
        there.send(Ready(0))
        there.close()
        assert crew.receive(1.0) == [Ready(0), Lost(0, "its process ended")]
        crew.assign(0, Lease(1, ()))
