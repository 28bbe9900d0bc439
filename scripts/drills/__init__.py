"""Fault drills: real processes, real files, real kills, judged by what decodes afterwards. `make drills` runs them.

    process.py        starts `onbeat` and what is below it, finds and signals its processes
    taps.py           reads control's own counts from its shared memory, also after everything was killed
    tally.py          counts what is in the dataset: rows, decoded pictures by the number drawn in them, discarded takes
    stock_reader.py   stock LeRobot in a process of its own, which opens datasets for all drills
    stage.py          one drill's folder, flags, random numbers and verdict
    registry.py       the list of drills
    proxy.py          a TCP link that can be cut, stalled, delayed and narrowed
    hooks/            faults inside the product's processes: a `sitecustomize` that only drills put on the path

The product has no hooks for drills.
"""
