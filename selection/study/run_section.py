"""The [run] section of a study file: where the study trains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from selection.study.section import Section

RunsOn = Literal["processes", "ray"]
FixedLag = Annotated[int, Field(ge=1)]


class RunSection(Section):
    """Say where the study trains. The command line may say otherwise, and so may each later run."""

    on: RunsOn = "processes"
    """Workers are processes of this machine, or actors of a Ray cluster."""
    workers: int | None = Field(default=None, ge=1)
    """Number of workers that train beside each other; left out, one process, or on Ray one for each
    GPU, and without GPUs one for each node.
    """
    lag: FixedLag | Literal["free"] | None = None
    """With a lag of N, cohort k is proposed from the cohorts up to k - N, however fast the workers
    are, so that the study is repeatable; left out, the number of workers. `free` takes what has
    finished.
    """
    address: str | None = None
    """Ray cluster: `HOST:PORT`, `auto` for the one that this machine is a node of, or `local` for
    one of this machine's own; left out, the one that `RAY_ADDRESS` names, else `local`.
    """
    gpus_per_worker: float | None = Field(default=None, gt=0.0)
    """GPUs of each worker on Ray, 1 if left out; 0.5 lets two share one."""

    @field_validator("lag", mode="before")
    @classmethod
    def _lag_is_a_number_or_free(cls, lag: object) -> object:
        if isinstance(lag, str) and lag != "free":
            raise ValueError('must be a whole number from 1, or "free"')
        return lag

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus_are_a_share_of_one_or_whole(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and not gpus.is_integer():
            raise ValueError("must be a share of one GPU or a whole number of them")
        return gpus

    @model_validator(mode="after")
    def _ray_has_its_own_keys(self) -> RunSection:
        given = [name for name in ("address", "gpus_per_worker") if getattr(self, name) is not None]
        if given and self.on != "ray":
            raise ValueError(f'{", ".join(given)} belongs to Ray: write on = "ray"')
        return self

    @model_validator(mode="after")
    def _lag_lets_all_train(self) -> RunSection:
        if isinstance(self.lag, int) and self.workers is not None and self.lag < self.workers:
            raise ValueError("lag must be at least workers, or some of them always wait")
        return self
