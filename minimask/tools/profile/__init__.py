"""Where the time and the memory of a training step or a prediction go, beside the floor.

    observer = Observer(model)
    with observer.watch():
        model.predict([image])
    profile = summarize(observer, measure_machine())
    print(table(profile))

`observer.py` takes the times, `costs.py` knows what every operation must at least do, `machine.py`
how fast this machine can do that, `summary.py` adds up, `table.py` and `export.py` show it.
"""

from minimask.tools.profile.export import as_json, as_trace
from minimask.tools.profile.machine import Machine, matrix_rate, measure_machine
from minimask.tools.profile.observer import Observer
from minimask.tools.profile.repeat import Measured, measure
from minimask.tools.profile.summary import Profile, Row, summarize
from minimask.tools.profile.table import closing, table
from minimask.tools.profile.work import inference, training_step

__all__ = [
    "Machine",
    "Measured",
    "Observer",
    "Profile",
    "Row",
    "as_json",
    "as_trace",
    "closing",
    "inference",
    "matrix_rate",
    "measure",
    "measure_machine",
    "summarize",
    "table",
    "training_step",
]
