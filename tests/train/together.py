"""One of several processes that train all three stages of the tiny learner.

python tests/train/together.py WORKDIR PORT COUNT INDEX DEVICES STEPS
"""

import os
import sys
import traceback


def train(root, port, count, index, devices, steps):
  from affjax.train import loop, stages
  from affjax.train.processes import Processes
  from tests.train import tiny_training as tiny

  processes = Processes(f"localhost:{port}", count, index)
  processes.connect()
  for name in stages.STAGE_NAMES:
    loop.run(
      tiny.make_task(
        root, name=name, total_steps=steps, log_every=1, devices=count * devices
      )
    )
  processes.disconnect()


if __name__ == "__main__":
  root, *numbers = sys.argv[1:]
  devices = numbers[3]
  os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
  os.environ["JAX_PLATFORMS"] = "cpu"
  try:
    train(root, *map(int, numbers))
  except BaseException:
    traceback.print_exc()
    # As affjax.main does: an orderly end would wait for the other processes.
    sys.stderr.flush()
    os._exit(1)
