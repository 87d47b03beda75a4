"""What is compared, and what numclip has to reach."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

FRAMEWORKS = ("torch", "tensorflow", "optax")


class Contender(NamedTuple):
    """An operation of a peer; `process` is the one it runs in, where that is not its own."""

    label: str
    peer: str
    operation: str
    process: str = ""

    @property
    def home(self) -> str:
        return self.process or self.peer


class Target(NamedTuple):
    """How many times numclip's time the fastest of some others has to take at least."""

    at_least: float
    against: tuple[str, ...]


class Row(NamedTuple):
    """One line of the comparison: contenders at the same work."""

    section: str
    workload: str
    contenders: tuple[Contender, ...]
    regime: str = "over"
    dtype: str = "float32"
    case: str = ""
    targets: tuple[Target, ...] = ()


IN_PLACE = "In place"
TO_NEW = "Out of place, fresh results"
INTO = "Out of place, numclip with `out`"
DTYPES = "Other dtypes, in place"
SLICES = "The norms of slices: clip_by_norm with axes"
COALESCE = "Sparse rows that share an index, summed"
STEPS = "Clip by the global norm, and step"
ROW_STEPS = "The same with a sparse gradient"
START = "From the start of a process to the first clipped gradient"
MACHINE = "Against the limit of the machine"
STEP_MACHINE = "A step against the limit of the machine"

# What is written to a file each.
SUBJECTS = {
    "clipping": (IN_PLACE, TO_NEW, INTO, DTYPES, SLICES, COALESCE, START, MACHINE),
    "steps": (STEPS, ROW_STEPS, STEP_MACHINE),
}

_PLAIN_LOOPS = (
    "Loops of Numba on two threads that read and write as many bytes, in numclip's own process."
)

SECTIONS = {
    IN_PLACE: (
        "TensorFlow and optax return new arrays; optax, donated, reuses those it is given, and"
        " under the limit reads each number once, as numclip does. Of the large lists numclip is"
        " to be no slower there: of the two largest, twice as fast is faster than memory."
    ),
    TO_NEW: "",
    INTO: "",
    DTYPES: "Over the limit. NumPy's dot product of halves gives no norm at these sizes: left out.",
    SLICES: "Half of the slices are over the limit.",
    COALESCE: "SciPy: from coordinates to rows (`coo_array.tocsr`), which sums duplicates.",
    STEPS: (
        "numclip's `global_clipnorm`; `clip_grad_norm_(foreach=True)` and an optimizer that is"
        " `fused=True`, for gradient descent `foreach=True`; `optax.chain` under `jax.jit`, which"
        " reuses variables and slots; TensorFlow's `clip_by_global_norm` and `tf.compat.v1.train`;"
        " Keras with `global_clipnorm`, its limit half of the norm."
    ),
    ROW_STEPS: (
        "A quarter of the rows share an index with another. Duplicates are summed first, and the"
        " norm of the sums is limited; PyTorch's `clip_grad_norm_` refuses sparse gradients, so"
        " that their values are scaled by hand."
    ),
    START: "A gradient of 1,000 float32; whatever a library caches on disk is there.",
    MACHINE: _PLAIN_LOOPS,
    STEP_MACHINE: _PLAIN_LOOPS,
}

_NUMCLIP = Contender("numclip", "numclip", "clip_in_place")
_NUMPY = Contender("numpy", "numpy", "clip_in_place")
_TORCH = Contender("torch", "torch", "clip_in_place")
_TENSORFLOW = Contender("tensorflow", "tensorflow", "clip")
_OPTAX = Contender("optax", "optax", "clip")
_DONATED = Contender("optax, donated", "optax", "clip_donated")

_REGIMES = ("over", "under")

# Workload: over and under the limit against the frameworks, and against NumPy.
_IN_PLACE_TARGETS = {
    "1k": (8, 8, 0.5),
    "mlp": (3, 5, 1.2),
    "tiny": (15, 15, 5),
    "1M": (1.5, 3, 1.2),
    "resnet-50": (1.3, 2, 1.2),
    "bert-base": (1.15, 2, 1.2),
    "64M": (1.1, 2, 1.2),
}
# Under the limit optax does with donated buffers what numclip does, and only reads them: of 2**26
# numbers in 1.6 times what a plain loop takes, so that nothing can be twice as fast.
_READ_FROM_MEMORY = ("resnet-50", "bert-base", "64M")
_TO_NEW_TARGETS = {"1k": 2, "mlp": 2, "tiny": 2, "1M": 2, "resnet-50": None, "bert-base": None}
_INTO_TARGETS = {"resnet-50": 1.05, "bert-base": 1.05}


def _against_frameworks(workload: str, regime: str, at_least: float) -> tuple[Target, ...]:
    if regime == "under" and workload in _READ_FROM_MEMORY:
        return Target(at_least, FRAMEWORKS), Target(1, (_DONATED.label,))
    return (Target(at_least, (*FRAMEWORKS, _DONATED.label)),)


def _in_place() -> list[Row]:
    contenders = (_NUMCLIP, _NUMPY, _TORCH, _TENSORFLOW, _OPTAX, _DONATED)
    return [
        Row(
            IN_PLACE,
            workload,
            contenders,
            regime,
            targets=(
                *_against_frameworks(workload, regime, at_least),
                Target(against_numpy, ("numpy",)),
            ),
        )
        for workload, (over, under, against_numpy) in _IN_PLACE_TARGETS.items()
        for regime, at_least in zip(_REGIMES, (over, under), strict=True)
    ]


def _out_of_place(section: str, operation: str, targets: Mapping[str, float | None]) -> list[Row]:
    contenders = (Contender("numclip", "numclip", operation), _TENSORFLOW, _OPTAX)
    return [
        Row(
            section,
            workload,
            contenders,
            regime,
            targets=() if at_least is None else (Target(at_least, ("tensorflow", "optax")),),
        )
        for workload, at_least in targets.items()
        for regime in _REGIMES
    ]


def _dtypes() -> list[Row]:
    halves = (_NUMCLIP, _TORCH, _TENSORFLOW, _OPTAX, _DONATED)
    contenders = {"float64": (_NUMCLIP, _NUMPY, *halves[1:]), "bfloat16": halves, "float16": halves}
    return [
        Row(DTYPES, workload, contenders[dtype], dtype=dtype, case=dtype)
        for workload in ("1M", "resnet-50")
        for dtype in contenders
    ]


def _slices() -> list[Row]:
    return [
        Row(
            SLICES,
            "matrix",
            (
                Contender("numclip", "numclip", operation),
                Contender("numclip, out=", "numclip", f"{operation}_into"),
                *(Contender(peer, peer, operation) for peer in ("numpy", "torch", "tensorflow")),
            ),
            case=case,
        )
        for operation, case in (("clip_rows", "axes=1"), ("clip_columns", "axes=0"))
    ]


def _coalesce() -> list[Row]:
    peers = ("numclip", "numpy", "torch", "tensorflow", "scipy")
    return [
        Row(
            COALESCE,
            "rows-1M",
            tuple(Contender(peer, peer, "coalesce") for peer in peers),
            regime="",
            targets=(Target(1, ("torch", "scipy")),),
        )
    ]


# Workload: how many times faster than the fastest of the frameworks.
_STEP_TARGETS = {"mlp": 2.5, "tiny": 10, "resnet-50": 1.2, "bert-base": 1.2, "32M": 1.2}
_STEPPERS = ("gradient_descent", "momentum", "adagrad", "adam")


def _title(optimizer: str) -> str:
    return optimizer.replace("_", " ").capitalize()


def _steps() -> list[Row]:
    return [
        Row(
            STEPS,
            workload,
            (
                *(
                    Contender(peer, peer, f"clip_and_{optimizer}")
                    for peer in ("numclip", "torch", "optax", "tensorflow")
                ),
                Contender("keras", "tensorflow", f"keras_clip_and_{optimizer}"),
            ),
            case=_title(optimizer),
            targets=(Target(at_least, ("torch", "optax", "tensorflow", "keras")),),
        )
        for workload, at_least in _STEP_TARGETS.items()
        for optimizer in _STEPPERS
    ]


def _row_steps() -> list[Row]:
    return [
        Row(
            ROW_STEPS,
            "rows-8k",
            tuple(
                Contender(peer, peer, f"clip_and_{optimizer}_rows")
                for peer in ("numclip", "torch", "tensorflow")
            ),
            case=_title(optimizer),
            targets=(Target(3, ("torch", "tensorflow")),),
        )
        for optimizer in ("gradient_descent", "adagrad")
    ]


def _start() -> list[Row]:
    peers = ("numclip", "numpy", "torch", "tensorflow", "optax")
    return [
        Row(
            START,
            "start",
            tuple(Contender(peer, peer, "start") for peer in peers),
            regime="",
            case="first clip",
            targets=(Target(1, ("torch", "tensorflow", "optax")),),
        )
    ]


# What, the workload, the operation, a plain loop, and how many times longer it may take than that.
_AGAINST_MACHINE = (
    (MACHINE, "norm, a read", "64M", "norm", "plain_read", 1.1),
    (
        MACHINE,
        "scaling in place, a read and a write",
        "64M",
        "scale",
        "plain_read_modify_write",
        1.1,
    ),
    (
        STEP_MACHINE,
        "clip and Adam, 5 reads and 3 writes",
        "32M",
        "clip_and_adam",
        "plain_adam",
        1.15,
    ),
    (
        STEP_MACHINE,
        "clip and Momentum, 4 reads and 2 writes",
        "32M",
        "clip_and_momentum",
        "plain_momentum",
        1.15,
    ),
    *[
        (
            STEP_MACHINE,
            "clip and gradient descent, 3 reads and 1 write",
            workload,
            "clip_and_gradient_descent",
            "plain_gradient_descent",
            1.15,
        )
        for workload in ("32M", "bert-base")
    ],
)


def _machine() -> list[Row]:
    return [
        Row(
            section,
            workload,
            (
                Contender("numclip", "machine", operation, "numclip"),
                Contender("plain loop", "machine", plain, "numclip"),
            ),
            regime="",
            case=case,
            targets=(Target(1 / at_most, ("plain loop",)),),
        )
        for section, case, workload, operation, plain, at_most in _AGAINST_MACHINE
    ]


ROWS = (
    *_in_place(),
    *_out_of_place(TO_NEW, "clip", _TO_NEW_TARGETS),
    *_out_of_place(INTO, "clip_into", _INTO_TARGETS),
    *_dtypes(),
    *_slices(),
    *_coalesce(),
    *_start(),
    *_steps(),
    *_row_steps(),
    *_machine(),
)

WORKLOAD_NAMES = tuple(dict.fromkeys(row.workload for row in ROWS))
# Loops that stand for the machine run where numclip does.
CONTENDER_NAMES = tuple(
    dict.fromkeys(c.peer for row in ROWS for c in row.contenders if not c.process)
)


def select(
    workloads: Collection[str], peers: Collection[str], subjects: Collection[str] = tuple(SUBJECTS)
) -> list[Row]:
    """Return the rows of these, each with the contenders that are of these peers."""
    sections = [section for subject in subjects for section in SUBJECTS[subject]]
    return [
        row._replace(contenders=tuple(c for c in row.contenders if c.home in peers))
        for row in ROWS
        if row.workload in workloads and row.section in sections
    ]
