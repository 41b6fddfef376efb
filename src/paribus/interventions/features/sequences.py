"""Features of sequences: tokens, and words of texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from paribus.errors import LevelError
from paribus.interventions.features.selectors import NAME, Selector, is_tensor, places_of

if TYPE_CHECKING:
    import torch


@final
@dataclass(frozen=True)
class Tokens(Selector):
    """Tokens of sequences of integers ``(length,)``: those of some numbers, or for which a function says so.

    Dropped ones are taken out, what follows moves up, and the end is filled with ``fill``.

    Attributes:
        which: A number, a tuple of numbers, or a function from a tensor of numbers to one of bools.
        fill: What fills the end where tokens are dropped.
        at: Key of the tensor; ``None``: the first of integers.

    Example:
        >>> print(Tokens((17, 4)))
        Tokens(which=(17, 4), fill=0)
    """

    which: int | tuple[int, ...] | Callable[[torch.Tensor], torch.Tensor]
    fill: int = 0
    at: str | None = None
    modes: ClassVar[frozenset[str] | None] = frozenset({"drop", "zero", "permute", "resample", "mask"})

    def __post_init__(self) -> None:
        if not callable(self.which):
            object.__setattr__(self, "which", places_of("Tokens", self.which))

    def takes(self, leaf: Any) -> bool:
        """A tensor of integers ``(batch, …, length)``."""
        return is_tensor(leaf, 2) and not leaf.is_floating_point()

    def mask(self, leaf: torch.Tensor) -> torch.Tensor:
        """Return the tokens that are meant, in the shape of the leaf."""
        import torch

        if callable(self.which):
            return torch.as_tensor(self.which(leaf)).to(torch.bool)
        return torch.isin(leaf, torch.tensor(self.which))

    def rest(self, leaf: torch.Tensor) -> torch.Tensor:
        """Return the other tokens, moved up, in the shape of the leaf."""
        import torch

        gone = self.mask(leaf)
        moved = leaf.gather(-1, gone.to(torch.int8).argsort(dim=-1, stable=True))
        kept = leaf.shape[-1] - gone.sum(-1, keepdim=True)
        return moved.masked_fill(torch.arange(leaf.shape[-1]) >= kept, self.fill)


@final
@dataclass(frozen=True)
class Words(Selector):
    """Words of texts, parted by blanks: those in a tuple, or for which a function says so.

    Attributes:
        which: A word, a tuple of words, or a function from a word to a bool.
        fill: What stands in their place under ``mode="mask"``.
        at: Key of the text; ``None``: the first.

    Example:
        >>> print(Words(("bank",)))
        Words(which=('bank',), fill='[MASK]')
    """

    which: str | tuple[str, ...] | Callable[[str], bool]
    fill: str = "[MASK]"
    at: str | None = None
    modes: ClassVar[frozenset[str] | None] = frozenset({"drop", "mask"})

    def __post_init__(self) -> None:
        if isinstance(self.which, str):
            object.__setattr__(self, "which", (self.which,))

    def takes(self, leaf: Any) -> bool:
        """Any list of texts."""
        return isinstance(leaf, tuple | list)

    def mask(self, leaf: Any) -> Any:
        """Refuse: texts are no tensors."""
        raise LevelError(f"{NAME}: {self} means texts; give mode='drop' or 'mask'")

    def masked(self, leaf: Any) -> Any:
        """Return the texts with ``fill`` in place of the words."""
        return type(leaf)(" ".join(self.fill if self._means(w) else w for w in t.split()) for t in leaf)

    def rest(self, leaf: Any) -> Any:
        """Return the texts without the words."""
        return type(leaf)(" ".join(w for w in text.split() if not self._means(w)) for text in leaf)

    def _means(self, word: str) -> bool:
        return bool(self.which(word)) if callable(self.which) else word in self.which
