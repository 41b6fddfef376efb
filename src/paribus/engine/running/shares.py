"""Trees of tasks, shared out so that agents end together and learners that can be one group meet: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from paribus.engine.building.work import Task

# A tree may make a share larger than the others by this part of it before it is parted.
_SLACK = 0.1


def share_out(trees: Iterable[Sequence[Task]], loads: Sequence[float]) -> list[list[Task]]:
    """Share trees out by steps: the largest first, each to who has least.

    A tree that would make a share too large is parted: its trunk, from which several go on, is in one share
    with as many branches as fit. The other branches are in none: who has least then may take them, once the
    trunk is trained.

    Args:
        trees: Tasks, parents before children; only the first of each may wait for others.
        loads: Steps that those who share have already.

    Returns:
        The tasks of each, parents before children.
    """
    held, shares = list(loads), [list[Task]() for _ in loads]
    whole = list(trees)
    fair = (sum(held) + sum(map(steps_of, whole))) / len(held)
    for tree in sorted(whole, key=steps_of, reverse=True):
        place = held.index(min(held))
        fits = held[place] + steps_of(tree) <= (1 + _SLACK) * fair
        trunk, *branches = [tree] if fits else parts_of(tree)
        shares[place] += trunk
        held[place] += steps_of(trunk)
        for branch in branches:
            if held[place] + steps_of(branch) / 2 <= fair:
                shares[place] += branch
                held[place] += steps_of(branch)
    return shares


def parts_of(tree: Sequence[Task]) -> list[list[Task]]:
    """Part a tree into its trunk, from which several learners go on, and its branches."""
    ends = dict.fromkeys((task.key for task in tree), 0)
    for task in reversed(tree):
        ends[task.key] = ends[task.key] or 1
        if task.parent in ends and task.parent != task.key:
            ends[task.parent] += ends[task.key]
    if ends[tree[0].key] == 1:
        return [list(tree)]
    trunk = [task for task in tree if ends[task.key] > 1]
    branches: dict[str, list[Task]] = {}
    for task in tree:
        if ends[task.key] == 1:
            branch = branches.get(str(task.parent), [])
            branch.append(task)
            branches[task.key] = branch
    return [trunk, *({id(branch): branch for branch in branches.values()}.values())]


def ends_of(tree: Sequence[Task]) -> int:
    """Count the tasks from which nothing goes on: learners."""
    return len({task.key for task in tree} - {task.parent for task in tree[1:]})


def steps_of(tree: Iterable[Task]) -> int:
    """Count the steps of tasks."""
    return sum(task.stop - task.start for task in tree)
