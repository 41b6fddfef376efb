"""Values that refer to each other, as a graph, and the digest of each of its nodes.

Values that hold no cycle hash as a Merkle tree. A cycle is first reduced to its smallest equal graph, so
that a digest tells nothing but what can be seen by following references: a class that was defined twice
with the same text is the same class, whichever of the two its methods refer to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType

from paribus.identity.grammar import count, hash128, label, reference
from paribus.identity.reads import Reads


@dataclass(slots=True, eq=False)
class Node:
    """A value with references: of what kind it is, and its named pieces in order.

    Attributes:
        kind: what sort of value it is, a part of its form.
        edges: its pieces by name, a part of its form.
        text: writes it in words.
        code: the code that it describes.
        reads: what its description rests on; None where that cannot be told.
        digest: 16 bytes, once it is sealed.
        aside: what a declaration stands for, and is no part of its form.
    """

    kind: str
    edges: list[tuple[str, Form]] = field(default_factory=list)
    text: Callable[[], str] | None = None
    code: CodeType | None = None
    reads: Reads | None = None
    digest: bytes = b""
    aside: Form = b""

    def form(self, place: Callable[[Node], bytes]) -> bytes:
        """Write the node, each node it refers to as `place` puts it."""
        pieces = [b"n", label(self.kind), count(len(self.edges))]
        for name, target in self.edges:
            pieces.append(label(name))
            pieces.append(target if isinstance(target, bytes) else place(target))
        return b"".join(pieces)

    def targets(self) -> list[Node]:
        """List the nodes that this one refers to, in order."""
        return [target for _, target in self.edges if isinstance(target, Node)]


Form = bytes | Node

KEY = "key"
"""The name of the piece that is a key of a dict; the piece after it is what stands there."""


def leaf(kind: str, *pieces: tuple[str, bytes]) -> bytes:
    """Write a node that refers to no other."""
    written = [part for name, form in pieces for part in (label(name), form)]
    return b"".join((b"n", label(kind), count(len(pieces)), *written))


def flat(node: Node) -> Form:
    """Write a node as bytes where it refers to no other, as `leaf` does."""
    pieces = [b"n", label(node.kind), count(len(node.edges))]
    for name, target in node.edges:
        if not isinstance(target, bytes):
            return node
        pieces.append(label(name))
        pieces.append(target)
    return b"".join(pieces)


def digest_of(form: Form) -> bytes:
    """Hash a form, 16 bytes; every node that it reaches has its digest afterwards."""
    if isinstance(form, bytes):
        return hash128(form)
    if not form.digest:
        for component in _components(form):
            _SEALED.add(component)
    return form.digest


def reachable(form: Form) -> Iterator[Node]:
    """Yield every node from a form on, each once."""
    stack = [form] if isinstance(form, Node) else []
    seen = set(map(id, stack))
    while stack:
        node = stack.pop()
        yield node
        for target in node.targets():
            if id(target) not in seen:
                seen.add(id(target))
                stack.append(target)


def _placed(node: Node) -> bytes:
    return reference(node.digest)


class _Sealed:
    """The cycles that have their digests, each once, for as long as the process lives."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._cycles: dict[bytes, list[list[Node]]] = {}
        self._unfolded: dict[bytes, bytes] = {}

    def add(self, component: list[Node]) -> None:
        """Give each node of a component its digest; all that it refers to outside have theirs."""
        if len(component) == 1 and component[0] not in component[0].targets():
            node = component[0]
            own = hash128(node.form(_placed))
            # A node that unfolds to the same as one on a cycle is the same value.
            node.digest = self._unfolded.get(own, own)
        elif not self._join(component):
            _seal_cycle(component)
            self._note(component)

    def _join(self, component: list[Node]) -> bool:
        """Take the digests of a cycle from before that this one unfolds to, if there is one."""
        shapes = {_shape(node) for node in component}
        for cycle in self._cycles.get(min(shapes), ()):
            colours = _colours([*component, *cycle])
            digests = {colours[id(node)]: node.digest for node in cycle}
            if all(colours[id(node)] in digests for node in component):
                for node in component:
                    node.digest = digests[colours[id(node)]]
                return True
        return False

    def _note(self, component: list[Node]) -> None:
        if component[0].digest in self._known:
            return
        self._known.update(node.digest for node in component)
        self._unfolded.update((hash128(node.form(_placed)), node.digest) for node in component)
        for shape in {_shape(node) for node in component}:
            self._cycles.setdefault(shape, []).append(component)


_SEALED = _Sealed()


def _shape(node: Node) -> bytes:
    """Write what nodes that unfold to the same have in common: all but where their references lead."""
    return hash128(node.form(lambda target: b"^"))


def _seal_cycle(component: list[Node]) -> None:
    """Write the smallest graph that unfolds to the same, from its first node on, and hash it."""
    colours = _colours(component)
    members = {colours[id(node)]: node for node in component}
    first = min(members)
    order = [first]
    places = {first: 0}

    def place(target: Node) -> bytes:
        if id(target) not in colours:
            return reference(target.digest)
        colour = colours[id(target)]
        if colour not in places:
            places[colour] = len(order)
            order.append(colour)
        return b"^" + count(places[colour])

    # The order grows on the way: a node has its place when it is first referred to.
    forms = [members[colour].form(place) for colour in order]
    whole = hash128(b"o" + count(len(forms)) + b"".join(forms))
    for node in component:
        node.digest = hash128(b"O" + whole + count(places[colours[id(node)]]))


def _colours(nodes: list[Node]) -> dict[int, bytes]:
    """Colour nodes so that two have one colour if and only if they unfold to the same."""
    known = {node.digest: id(node) for node in nodes if node.digest}
    inside = {id(node) for node in nodes}

    def seat(target: Node) -> int | bytes:
        return id(target) if id(target) in inside else known.get(target.digest, target.digest)

    targets = {id(node): [seat(target) for target in node.targets()] for node in nodes}
    colours = {id(node): hash128(node.form(lambda target: b"^")) for node in nodes}
    number = 0
    while number != (number := len(set(colours.values()))):
        colours = {
            place: hash128(
                own + b"".join([t if isinstance(t, bytes) else colours[t] for t in targets[place]])
            )
            for place, own in colours.items()
        }
    return colours


def _components(root: Node) -> Iterator[list[Node]]:
    """Yield strongly connected components, those referred to first (Tarjan, without recursion)."""
    index: dict[int, int] = {id(root): 0}
    low: dict[int, int] = {id(root): 0}
    open_nodes: list[Node] = [root]
    inside = {id(root)}
    work = [(root, iter(root.targets()))]
    while work:
        node, targets = work[-1]
        for target in targets:
            place = id(target)
            if target.digest:
                continue
            if place not in index:
                index[place] = low[place] = len(index)
                open_nodes.append(target)
                inside.add(place)
                work.append((target, iter(target.targets())))
                break
            if place in inside:
                low[id(node)] = min(low[id(node)], index[place])
        else:
            work.pop()
            if work:
                parent = id(work[-1][0])
                low[parent] = min(low[parent], low[id(node)])
            if low[id(node)] == index[id(node)]:
                component: list[Node] = []
                while not component or component[-1] is not node:
                    component.append(open_nodes.pop())
                    inside.discard(id(component[-1]))
                yield component
