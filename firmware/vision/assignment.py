"""The cheapest pairing of rows with columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware.vision import memory


class Assignment:
    """Shortest augmenting paths with potentials (Jonker and Volgenant 1987), one row at a time.

    Args:
        most: the longest side of a cost matrix that it will be given.
    """

    def __init__(self, most: int) -> None:
        self._cost = memory.allocate("assignment.cost", (most, most), np.float32)
        self._row_price = memory.allocate("assignment.row_price", (most,), np.float32)
        self._column_price = memory.allocate("assignment.column_price", (most + 1,), np.float32)
        self._distance = memory.allocate("assignment.distance", (most,), np.float32)
        self._before = memory.allocate("assignment.before", (most,), np.intp)
        self._visited = memory.allocate("assignment.visited", (most + 1,), np.bool_)
        self._owner = memory.allocate("assignment.owner", (most + 1,), np.intp)

    def pairs(self, cost: NDArray[np.float32], limit: float) -> list[tuple[int, int]]:
        """Assign rows to columns so that the sum of costs is least, leaving out dear pairs.

        Args:
            cost: (N, M), finite.
            limit: the price of leaving a row and a column alone; pairs at or above it are
                not made.

        Returns: (row, column) of each pair.
        """
        if cost.shape[0] > cost.shape[1]:
            return [(row, column) for column, row in self.pairs(cost.T, limit)]
        rows, columns = cost.shape
        nearest = cost.argmin(axis=1).tolist()
        if len(set(nearest)) == rows:  # nobody competes, as in most frames
            return [(r, c) for r, c in enumerate(nearest) if cost[r, c] < limit]
        capped = self._cost[:rows, :columns]
        np.minimum(cost, limit, out=capped)
        row_price, column_price = self._row_price[:rows], self._column_price[: columns + 1]
        distance, before = self._distance[:columns], self._before[:columns]
        visited, owner = self._visited[: columns + 1], self._owner[: columns + 1]
        column_price.fill(0)
        owner.fill(-1)
        for row in range(rows):
            owner[columns] = row  # one column more than there are: the root of each search
            distance.fill(np.inf)
            before.fill(columns)
            visited.fill(False)
            here = columns
            while owner[here] >= 0:
                visited[here] = True
                slack = capped[owner[here]] - row_price[owner[here]] - column_price[:columns]
                closer = ~visited[:columns] & (slack < distance)
                distance[closer] = slack[closer]
                before[closer] = here
                following = int(np.where(visited[:columns], np.inf, distance).argmin())
                step = distance[following]
                row_price[owner[visited]] += step
                column_price[visited] -= step
                distance[~visited[:columns]] -= step
                here = following
            while here != columns:
                owner[here] = owner[before[here]]
                here = int(before[here])
        made = [(int(owner[column]), column) for column in range(columns) if owner[column] >= 0]
        return [(row, column) for row, column in made if cost[row, column] < limit]
