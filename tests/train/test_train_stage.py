"""Stages are data: what trains on what, in the paper."""

import pytest

from affjax.losses import TERMS, LossWeights, Need
from affjax.models import NETWORKS
from affjax.train import stages


def test_stage1_trains_the_position_net_on_its_map_alone():
  first = stages.paper_stage("stage1")
  assert first.trains == ("position",)
  assert first.weights.active == ("position_l1",)
  assert first.weights["position_l1"] == 3
  assert (first.epochs, first.previous) == (20, None)
  assert not any(map(first.requires, (Need.RENDER, Need.FEATURES, Need.DISCRIMINATOR)))


def test_stage1_trains_the_pose_net_along_where_poses_have_a_weight():
  first = stages.paper_stage("stage1", weights=LossWeights(pose_l1=0.5))
  assert first.trains == ("position", "pose")
  assert first.weights.active == ("position_l1", "pose_l1")


def test_stage2_trains_the_others_without_position_or_discriminator():
  second = stages.paper_stage("stage2")
  assert set(second.trains) == {"diffuse", "light", "pose"}
  assert "position_l1" not in second.weights.active
  assert "adversarial_generator" not in second.weights.active
  assert {"image_l1", "perceptual", "symmetry", "deviation", "variation"} <= set(
    second.weights.active
  )
  assert (second.epochs, second.previous) == (30, "stage1")
  assert second.requires(Need.RENDER)
  assert second.requires(Need.FEATURES)


def test_stage3_trains_everything_on_everything():
  third = stages.paper_stage("stage3")
  assert third.trains == NETWORKS
  paper = [name for name in LossWeights() if not name.startswith("unsup3d")]
  assert third.weights == LossWeights().only(*paper)
  assert third.requires(Need.DISCRIMINATOR)
  assert (third.epochs, third.previous) == (40, "stage2")


def test_weights_of_the_user_reach_the_stages_that_use_them():
  weights = LossWeights(pose_l1=2.0, adversarial_generator=0.0)
  assert stages.paper_stage("stage2", weights=weights).weights["pose_l1"] == 2
  third = stages.paper_stage("stage3", weights=weights)
  assert not third.requires(Need.DISCRIMINATOR)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"trains": ("nose",)}, "position, diffuse"),
    ({"trains": ()}, "trains of s"),
    ({"weights": LossWeights().only()}, "every loss weight"),
    ({"epochs": 0}, "epochs of s"),
  ],
)
def test_nonsense_is_refused(change, message):
  fields = {"name": "s", "trains": ("pose",), "weights": LossWeights(), "epochs": 1}
  with pytest.raises(ValueError, match=message):
    stages.Stage(**{**fields, **change})


def test_unknown_stage_lists_the_known():
  with pytest.raises(ValueError, match="stage1, stage2, stage3"):
    stages.paper_stage("stage4")


def test_every_row_of_the_table_of_losses_names_known_stages():
  for term in TERMS:
    assert term.stages
    assert set(term.stages) <= set(stages.EVERY_STAGE), term.name
