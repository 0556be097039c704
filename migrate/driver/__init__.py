"""The driver: a thin loop that carries the engine's commands out, and what it is put together from."""

from .job import check_job, rebuild_job, run_job, verify_job
from .prune import prune_job
from .stop import Stop

__all__ = ["Stop", "check_job", "prune_job", "rebuild_job", "run_job", "verify_job"]
