"""Ways to call the one step. The maths never learns how many devices, seeds or steps there are.

    sharded   jit, the batch split over a mesh of devices, the state replicated: the default, also on one device
    pmapped   the device view of the same step, with `lax.pmean` of the local gradients
    seeded    k runs in one program: vmap over their states, all on the same batch or each on its own
    scanned   n steps in one dispatch

Random numbers are keyed by example, so the first two draw bit for bit the same noise on any number of devices.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from genjax.model import Batch
from genjax.step import Metrics, State

Step = Callable[[State, Batch], tuple[State, Metrics]]


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh over all (or the given) devices. Auto axes: explicit ones refuse noise on a sharded batch."""
    devices = devices or jax.devices()
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def shardings(mesh: Mesh) -> tuple[State, NamedSharding]:
    """(of a state, of a batch): the state replicated except its memory, whose rows are split as a batch's are."""
    whole, rows = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    return State(*[whole] * len(State._fields))._replace(memory=rows), rows


def sharded(step: Step, mesh: Mesh, *, donate: bool = True) -> Step:
    """`step` jitted with each batch split over the mesh. Rows of a batch must divide by the number of devices."""
    state, rows = shardings(mesh)
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.jit(step, in_shardings=(state, rows), out_shardings=(state, whole), donate_argnums=(0,) if donate else ())


def pmapped(step: Step, devices: Sequence[jax.Device] | None = None) -> Step:
    """The device view of a step made with `axis_name="data"`: the same signature, splitting and joining inside.

    The state lives on all devices between calls; its leaves keep their plain shapes, only memory and batches are split.
    """
    devices = devices or jax.local_devices()
    axes = State(*[None] * len(State._fields))._replace(memory=0)
    mapped = jax.pmap(step, "data", in_axes=(axes, 0), out_axes=(axes, None), devices=devices)
    split = partial(jax.tree.map, lambda rows: rows.reshape(len(devices), -1, *rows.shape[1:]))
    join = partial(jax.tree.map, lambda rows: rows.reshape(-1, *rows.shape[2:]))

    def call(state: State, batch: Batch) -> tuple[State, Metrics]:
        state, metrics = mapped(state._replace(memory=split(state.memory)), split(batch))
        return state._replace(memory=join(state.memory)), metrics

    return call


def seeded(step: Step, *, batch_axis: int | None = None) -> Step:
    """`step` over a stack of states (every leaf but `step` has a leading seed axis), on one batch or (0) one batch each.

    The step number stays a scalar: batched, each `lax.cond` of a resting phase would become a select that runs both sides.
    """
    axes = State(*[0] * len(State._fields))._replace(step=None)
    return jax.vmap(step, in_axes=(axes, batch_axis), out_axes=(axes, 0))


def scanned(step: Step) -> Step:
    """Many steps in one program: batches and metrics gain a leading axis of steps."""
    return lambda state, batches: jax.lax.scan(step, state, batches)
