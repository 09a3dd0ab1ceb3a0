"""Draw what was recorded: which operations made a tensor, from which inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minimask.autograd.backward import topological_order
from minimask.autograd.tensor import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAF_COLOR, OPERATION_COLOR = "#d8ecd4", "#dbe7f6"


@dataclass(frozen=True)
class Graph:
    """A recorded graph: print it for a tree, show it in a notebook for a picture.

    Attributes:
        labels: a line for every node, outputs before their inputs.
        leaves: which nodes are leaves, that is parameters and other starting points.
        edges: pairs (node, input of that node).
    """

    labels: tuple[str, ...]
    leaves: frozenset[int]
    edges: tuple[tuple[int, int], ...]

    @property
    def dot(self) -> str:
        """The graph in Graphviz's language."""
        lines = ["digraph {", "  rankdir=BT", '  node [shape=box style="rounded,filled"]']
        for i, label in enumerate(self.labels):
            color = LEAF_COLOR if i in self.leaves else OPERATION_COLOR
            text = label.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'  n{i} [label="{text}" fillcolor="{color}"]')
        lines += [f"  n{source} -> n{node}" for node, source in self.edges]
        return "\n".join([*lines, "}"])

    def __str__(self) -> str:
        """A tree, the result first: `made <- from`, several inputs indented below.

        A node with several users is drawn once, with a number that the others refer to.
        """
        inputs: list[list[int]] = [[] for _ in self.labels]
        users = [0] * len(self.labels)
        for node, source in self.edges:
            inputs[node].append(source)
            users[source] += 1
        lines: list[str] = []
        drawn: set[int] = set()
        stack = [(0, 0)]
        while stack:
            node, depth = stack.pop()
            line = "  " * depth
            while True:
                line += self.labels[node]
                shared = users[node] > 1 and node not in self.leaves
                if shared:
                    line += f" (see #{node})" if node in drawn else f" #{node}"
                if (shared and node in drawn) or len(inputs[node]) != 1:
                    break
                drawn.add(node)
                node = inputs[node][0]
                line += " <- "
            lines.append(line)
            if node not in drawn:
                stack += [(source, depth + 1) for source in reversed(inputs[node])]
            drawn.add(node)
        return "\n".join(lines)

    def depths(self) -> list[int]:
        """For every node the number of steps to the furthest leaf it was made from."""
        depths = [0] * len(self.labels)
        for node, source in sorted(self.edges, reverse=True):  # inputs have higher numbers
            depths[node] = max(depths[node], depths[source] + 1)
        return depths

    def draw(self, axes: Axes | None = None) -> Figure:
        """Draw with matplotlib, inputs at the bottom; returns the figure."""
        from matplotlib.figure import Figure

        depths = self.depths()
        rows: dict[int, list[int]] = {}
        for node, depth in enumerate(depths):
            rows.setdefault(depth, []).append(node)
        widest = max(len(row) for row in rows.values())
        if axes is None:
            axes = Figure(figsize=(2.2 * widest + 1, 0.8 * len(rows) + 0.5)).subplots()
        place = {
            node: ((i + 0.5) / len(row) * widest, depth)
            for depth, row in rows.items()
            for i, node in enumerate(row)
        }
        for node, source in self.edges:
            arrow: Any = {"arrowstyle": "->", "color": "#777777", "shrinkA": 10, "shrinkB": 10}
            axes.annotate("", place[node], place[source], arrowprops=arrow)
        for node, (x, y) in place.items():
            box = {
                "boxstyle": "round",
                "edgecolor": "#777777",
                "facecolor": LEAF_COLOR if node in self.leaves else OPERATION_COLOR,
            }
            axes.text(x, y, self.labels[node], ha="center", va="center", fontsize=8, bbox=box)
        axes.set_xlim(0, widest)
        axes.set_ylim(-0.6, max(depths) + 0.6)
        axes.axis("off")
        figure = axes.figure
        assert isinstance(figure, Figure)
        return figure

    def _repr_svg_(self) -> str:
        """The picture that a notebook shows."""
        import io

        buffer = io.StringIO()
        self.draw().savefig(buffer, format="svg", bbox_inches="tight")
        return buffer.getvalue()


def graph(tensor: Tensor) -> Graph:
    """The operations and inputs that made `tensor`, as far as gradients flow.

    Call it before `backward`, which frees the graph.
    """
    tensors = topological_order(tensor)[::-1] or [tensor]
    numbers = {id(t): i for i, t in enumerate(tensors)}
    edges = []
    for node, current in enumerate(tensors):  # leaves are added at the end while we walk
        for parent in current._ctx.parents if current._ctx else ():
            if parent is None:
                continue
            if id(parent) not in numbers:
                numbers[id(parent)] = len(tensors)
                tensors.append(parent)
            edges.append((node, numbers[id(parent)]))
    leaves = frozenset(i for i, t in enumerate(tensors) if t._ctx is None)
    return Graph(tuple(_label(t) for t in tensors), leaves, tuple(edges))


def _label(tensor: Tensor) -> str:
    """The operation or the leaf's name, and the shape."""
    shape = " x ".join(str(n) for n in tensor.shape) or "scalar"
    made = tensor._ctx.fn.__name__ if tensor._ctx else None
    words = [word for word in (made, tensor.name) if word] or ["tensor"]
    return f"{' '.join(words)} ({shape})"
