"""A sweep as one would write it without gradexp: Hydra, ``torch.optim`` and ``SummaryWriter``.

    python benchmarks/by_hand.py -m 'lr=1e-4,1e-3' 'momentum=0,0.9'

`sweep.py` compares gradexp with this script.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import hydra
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from torch.utils.tensorboard import SummaryWriter


@dataclass
class Config:
    lr: float = 1e-3
    momentum: float = 0.0
    x: float = -1.2
    y: float = 1.0
    steps: int = 1000


ConfigStore.instance().store("config", Config)


@hydra.main(version_base=None, config_path=None, config_name="config")
def main(config: Config) -> None:
    """Makes one run, and writes its losses, gradient norms, learning rates and points."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    point = torch.tensor([config.x, config.y], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([point], lr=config.lr, momentum=config.momentum)
    points = []
    with SummaryWriter(str(folder)) as writer:
        for step in range(config.steps):
            optimizer.zero_grad()
            loss = (1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2
            loss.backward()  # type: ignore[no-untyped-call]
            assert point.grad is not None
            writer.add_scalar("loss", loss.item(), step)
            writer.add_scalar("gradient_norm", point.grad.norm().item(), step)
            writer.add_scalar("learning_rate", config.lr, step)
            points.append(point.detach().clone())
            optimizer.step()
    torch.save(torch.stack(points), folder / "points.pt")


if __name__ == "__main__":
    main()
