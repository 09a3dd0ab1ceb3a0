"""What a network consists of and what it costs, from shapes alone: nothing is computed.

    summary = summarize(model, size=(800, 800))
    print(table(summary))

`dry_run.py` lets the real model run with arrays that have a shape and no memory; the operations it
calls are those that the profile counts (`tools/profile/costs.py`).  `memory.py` follows which
arrays are alive, `fields.py` what of the image a cell sees, `work.py` is what the model is asked
for, `summary.py` adds up, `table.py` shows it.
"""

from minimask.tools.info.dry_run import DryRun
from minimask.tools.info.fields import Field, receptive_field
from minimask.tools.info.summary import Summary, summarize
from minimask.tools.info.table import as_json, table

__all__ = ["DryRun", "Field", "Summary", "as_json", "receptive_field", "summarize", "table"]
