"""Train in several processes: their group, and batch norm over their joint batch."""

import os
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import distributed
from torch.distributed.nn.functional import all_reduce


@dataclass(frozen=True, kw_only=True)
class Team:
    """The processes of a run.

    Attributes:
        rank: this process, from 0.
        size: number of processes.
        device: of this process.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls, device: str) -> Self:
        """Join the processes that `torchrun` started, or return a group of one."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls(rank=0, size=1, device=torch.device(device))
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        name = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
        return cls(rank=distributed.get_rank(), size=size, device=torch.device(name))

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrap(self, module: torch.nn.Module, *, may_skip: bool = False) -> torch.nn.Module:
        """Return a network that averages gradients over all processes.

        Args:
            module: its batch norms must be synchronised already, see `synchronise`.
            may_skip: whether a step may leave some weights without a gradient.
        """
        if self.size == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(
            module, device_ids=ids, broadcast_buffers=False, find_unused_parameters=may_skip
        )

    def mean(self, value: float) -> float:
        """Return the mean of a figure over all processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return float(total) / self.size

    def leave(self) -> None:
        """Leave the group."""
        if self.size > 1:
            distributed.destroy_process_group()


def synchronise(module: torch.nn.Module, team: Team) -> torch.nn.Module:
    """Replace every batch norm by one with statistics over all processes."""
    if team.size == 1:
        return module
    if team.device.type == "cuda":
        convert: Any = torch.nn.SyncBatchNorm.convert_sync_batchnorm
        converted: torch.nn.Module = convert(module)
        return converted
    for name, child in module.named_children():
        if isinstance(child, torch.nn.modules.batchnorm._BatchNorm):
            setattr(module, name, _CpuSyncBatchNorm.like(child))
        else:
            synchronise(child, team)
    return module


class _CpuSyncBatchNorm(torch.nn.modules.batchnorm._BatchNorm):
    """Batch norm over all processes on the CPU; that of torch needs GPUs."""

    @classmethod
    def like(cls, norm: Any) -> Self:
        made = cls(norm.num_features, norm.eps, norm.momentum)
        # The same parameters, because those of the target have no gradient.
        made.weight, made.bias = norm.weight, norm.bias
        made.load_state_dict(norm.state_dict())
        return made

    def _check_input_dim(self, images: torch.Tensor) -> None:
        pass

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(images)
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        axes = [0, *range(2, images.dim())]
        values = images.float()
        count = torch.tensor([float(values.numel() / values.shape[1])])
        sums = torch.cat([values.sum(axes), values.square().sum(axes), count])  # [2C + 1]
        sums = _sum_over_team(sums)
        total = sums[-1].detach()
        mean, square = (sums[:-1] / total).chunk(2)
        variance = square - mean.square()
        shape = [1, -1, *[1] * (images.dim() - 2)]
        scale = self.weight * torch.rsqrt(variance + self.eps)
        result = (values - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * total / (total - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        normalised: torch.Tensor = result.to(images.dtype)
        return normalised


# Unlike `distributed.all_reduce` this is differentiable.
_sum_over_team: Any = all_reduce
