"""What a compiled program sends from device to device."""

import math
import re


def collectives(text):
  """The numbers of elements that each kind of communication makes, by its name."""
  found = {}
  names = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
  pattern = rf"= (\(?[a-z0-9\[\],{{}}:()\s/*=]+?) ({names})(?:-start)?\("
  for shapes, name in re.findall(pattern, text):
    sizes = re.findall(r"[a-z]+\d*\[([\d,]*)\]", shapes)
    total = sum(math.prod(map(int, filter(None, s.split(",")))) for s in sizes)
    found.setdefault(name, []).append(total)
  return found
