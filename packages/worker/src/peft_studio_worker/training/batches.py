"""Batches: which examples come together, and how they lie in rows of tokens.

Which examples a step sees is a matter of the seed and the epoch alone. How they lie in rows is a matter of speed:
several examples can share a row, each seeing only itself, and what they have in common at the start (a system prompt)
is computed once for all of them. In a causal model that changes nothing in the loss, and it saves a third of the time
on short examples. Where it would change something, every example gets its own row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import torch
from attrs import frozen

from peft_studio_worker.training.examples import Example


@frozen
class Batch:
    """Rows of tokens, and what is predicted: the token `targets[i]` follows position (`rows[i]`, `columns[i]`)."""

    ids: torch.Tensor
    #: None where the model counts for itself, because every row is one example.
    positions: torch.Tensor | None
    #: True where the query (third axis) may look at the key (fourth), or one flag per token for rows of one example.
    mask: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    #: Tokens of the examples, without padding; a shared beginning counts for each example.
    tokens: int


@frozen
class Layout:
    """How examples may lie in rows: `shares_rows` where that is exact; the rest weighs arrangements."""

    shares_rows: bool
    hidden_size: int = 1
    #: Weights of one layer.
    layer_parameters: int = 1
    #: How much dearer a multiplication is in attention than in the large matrix products.
    attention_cost: float = 4.0

    def arrange(self, examples: Sequence[Example]) -> list[list[Example]]:
        """The examples in rows, in the arrangement that costs the least."""
        if not self.shares_rows or len(examples) == 1:
            return [[example] for example in examples]
        candidates = [_balanced(examples, count) for count in _row_counts(len(examples))]
        return min(candidates, key=self._cost)

    def _cost(self, rows: Sequence[Sequence[Example]]) -> float:
        width = max(row_length(row) for row in rows)
        per_token = 2 * self.layer_parameters + self.attention_cost * 4 * self.hidden_size * width
        return len(rows) * width * per_token


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """The order of `count` examples in `epoch`."""
    order = list(range(count))
    Random(f"order {seed} {epoch}").shuffle(order)  # noqa: S311 -- no secret
    return order


def epoch_batches(
    examples: Sequence[Example], *, batch_size: int, seed: int, epoch: int, row_tokens: int | None = None
) -> list[list[Example]]:
    """The batches of an epoch: of `batch_size` examples, or of as many as fill `batch_size` rows of `row_tokens`."""
    order = [examples[index] for index in epoch_order(len(examples), seed, epoch)]
    rows = [[example] for example in order] if row_tokens is None else list(_filled(order, row_tokens))
    return [
        [example for row in rows[start : start + batch_size] for example in row]
        for start in range(0, len(rows), batch_size)
    ]


def row_length(row: Sequence[Example]) -> int:
    """Tokens of a row whose examples share their common beginning."""
    shared = shared_length(row)
    return shared + sum(len(example.ids) - shared for example in row)


def shared_length(row: Sequence[Example]) -> int:
    """How many first tokens all examples have in common, none of which is learnt or predicts a learnt one."""
    if len(row) == 1:
        return 0
    first, last = min(row, key=lambda example: example.ids).ids, max(row, key=lambda example: example.ids).ids
    limit = min(example.targets[0] - 1 for example in row)
    common = 0
    while common < min(limit, len(first), len(last)) and first[common] == last[common]:
        common += 1
    return common


def collate(examples: Sequence[Example], layout: Layout, pad_id: int) -> Batch:
    """Lay the examples out in rows."""
    groups = layout.arrange(examples)
    is_single = len(groups) == len(examples)
    arranged = [_Row.of(group) for group in groups]
    width = max(len(row.ids) for row in arranged)
    ids = torch.tensor([row.ids + [pad_id] * (width - len(row.ids)) for row in arranged])
    owners = torch.tensor([row.owners + [-1] * (width - len(row.owners)) for row in arranged])
    positions = torch.tensor([row.positions + [0] * (width - len(row.positions)) for row in arranged])
    predictions = [
        (number, column, target)
        for number, row in enumerate(arranged)
        for column, target in zip(row.columns, row.targets, strict=True)
    ]
    rows, columns, targets = torch.tensor(predictions).unbind(dim=1)
    return Batch(
        ids=ids,
        positions=None if is_single else positions,
        mask=(owners >= 0).long() if is_single else _visibility(owners),
        rows=rows,
        columns=columns,
        targets=targets,
        tokens=sum(len(example.ids) for example in examples),
    )


@frozen
class _Row:
    """One row: tokens, their positions within their example, and which example owns each (0: the shared beginning)."""

    ids: list[int]
    positions: list[int]
    owners: list[int]
    columns: list[int]
    targets: list[int]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> _Row:
        shared = shared_length(examples)
        row = cls(list(examples[0].ids[:shared]), list(range(shared)), [0] * shared, [], [])
        for owner, example in enumerate(examples, start=1):
            offset = len(row.ids) - shared
            row.ids.extend(example.ids[shared:])
            row.positions.extend(range(shared, len(example.ids)))
            row.owners.extend([owner] * (len(example.ids) - shared))
            row.columns.extend(offset + position - 1 for position in example.targets)
            row.targets.extend(example.ids[position] for position in example.targets)
        return row


def _visibility(owners: torch.Tensor) -> torch.Tensor:
    """[rows, 1, width, width]: a token sees what is before it in its own example, and the shared beginning."""
    width = owners.shape[1]
    key, query = owners[:, None, :], owners[:, :, None]
    before = torch.ones(width, width, dtype=torch.bool).tril()
    mine = (key == query) | (key == 0)
    itself = torch.eye(width, dtype=torch.bool)  # padding sees itself: a softmax over nothing is not a number
    return ((before & mine & (key >= 0)) | itself)[:, None]


def _row_counts(examples: int) -> Iterator[int]:
    """1, 2, 4, … and as many rows as examples."""
    count = 1
    while count < examples:
        yield count
        count *= 2
    yield examples


def _balanced(examples: Sequence[Example], count: int) -> list[list[Example]]:
    """The examples in `count` rows of about the same length: the longest first, each into the shortest row."""
    rows: list[list[Example]] = [[] for _ in range(count)]
    lengths = [0] * count
    for example in sorted(examples, key=lambda example: -len(example.ids)):
        shortest = lengths.index(min(lengths))
        rows[shortest].append(example)
        lengths[shortest] += len(example.ids)
    return rows


def _filled(order: Sequence[Example], row_tokens: int) -> Iterator[list[Example]]:
    """Rows filled with whole examples, in order, up to `row_tokens` tokens."""
    row: list[Example] = []
    used = 0
    for example in order:
        if row and used + len(example.ids) > row_tokens:
            yield row
            row, used = [], 0
        row.append(example)
        used += len(example.ids)
    if row:
        yield row


def additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask of flags as what eager attention adds to its scores."""
    lowest = torch.finfo(dtype).min
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, lowest)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on `device`."""
    if device.type == "cpu":
        return batch
    return Batch(
        ids=batch.ids.to(device),
        positions=None if batch.positions is None else batch.positions.to(device),
        mask=batch.mask.to(device),
        rows=batch.rows.to(device),
        columns=batch.columns.to(device),
        targets=batch.targets.to(device),
        tokens=batch.tokens,
    )
