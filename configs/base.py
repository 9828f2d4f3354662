"""What the configs of the three stages share: the paper's numbers.

Not run by itself. Where the paper is silent the comment says whose choice a value is.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """The paper's settings; `stage` and `epochs` are for each stage to set."""
  config = ConfigDict()
  config.stage = "stage1"
  config.epochs = 20.0
  config.steps = 0  # > 0: this many updates, whatever the epochs
  config.seed = 0
  config.init_from = ""  # a workdir whose weights to start from
  config.devices = 0  # 0 = all; the batch is divided among them
  config.dtype = "float32"  # "bfloat16": the arithmetic inside the networks
  config.affine_backend = "auto"
  # False is the paper's renderer. With gradients through silhouettes the image loss
  # drags heads whose texture is still wrong off their place (docs/losses.md).
  config.antialias = False
  config.mirror_supervision = False  # every photo and its mirror image (MeInGame)

  config.model = ConfigDict(
    {
      "template": "embedded",
      "size": 512,  # photos and UV maps; light maps are an eighth
      "camera": {"fov_deg": 12.5936, "distance": 10.0},
      "position": {
        "width": 32,
        "affine": True,
        "frame": "window",
        "kernel_size": 3,
        "global_context": True,  # not in the paper; without it shapes stay at the mean
        "context_size": 8,
      },
      "diffuse": {
        "width": 32,
        "affine": True,
        "frame": "window",
        "kernel_size": 3,
        "prior": "none",
        "global_context": False,
        "context_size": 8,
      },
      "light": {
        "width": 16,
        "affine": True,
        "frame": "window",
        "kernel_size": 3,
        "prior": "none",
        "color": False,
      },
      "pose": {"width": 16},
      "discriminator": {"width": 64, "depth": 3, "scales": 3},
    }
  )

  config.data = ConfigDict(
    {
      # "synthetic" heads, a "folder" of photos, a "prepared" data set (of affjax
      # prepare), or "mixed"
      "source": "synthetic",
      "path": "",  # of the folder or the data set
      # Shares of the batches, for source "mixed": as many parts as wanted.
      "mixture": {
        "photos": {"source": "prepared", "path": "", "weight": 0.9},
        "heads": {"source": "synthetic", "path": "", "weight": 0.1},
      },
      "count": 30000,  # synthetic heads; as many as CelebA-HQ has photos
      "held_out": 8,  # samples for evaluation and pictures, never trained on
      "batch_size": 8,  # ours
      "seed": 0,
      "mirror": True,  # flips half of the photos
      "occluders": 0.35,  # chance of something before the face
      "backgrounds": "",  # a folder of photos to cut backgrounds from
      # Changes of the photos alone; see affjax/data/augmentation.py. All off as in the
      # paper: losses that compare a render with the photo's colours see the changed
      # photo, and known diffuse maps keep their colours.
      "augment": {
        "brightness": 0.0,  # 0.2: factor of up to 1.2 or down to 1 / 1.2
        "contrast": 0.0,  # the same about mid-grey
        "saturation": 0.0,  # 0.3: factor of 0.7 to 1.3
        "hue_deg": 0.0,  # 8.0: a turn of up to 8 degrees either way
        "gamma": 0.0,  # 0.2: exponent of up to 1.2 or down to 1 / 1.2
        "grey": 0.0,  # chance of a photo without colour
        "blur": 0.0,  # chance of a blurred photo
        "blur_px": 1.5,  # its greatest standard deviation
        "noise": 0.0,  # 0.03: greatest standard deviation, of a range of 1
        "jpeg": 0.0,  # chance of another compression
        "jpeg_quality": (30, 90),
      },
      "cache": "",  # a folder for computed samples; "workdir" = inside the workdir
      "threads": 2,
    }
  )

  config.optimizer = ConfigDict(
    {
      "learning_rate": 1e-3,
      "beta1": 0.9,
      "beta2": 0.999,
      "schedule": "constant",  # or "cosine", down to zero
      "warmup_steps": 0,
      "clip_norm": 1.0,  # ours; 0 = off
      "discriminator": {"scale": 0.1, "beta1": 0.5, "beta2": 0.9},  # MeInGame's
    }
  )

  config.loss = ConfigDict(
    {
      "image_l1": 1.0,
      "position_l1": 3.0,
      "perceptual": 1.0,
      "symmetry": 0.3,
      "deviation": 1.0,
      "variation": 0.3,
      "adversarial_generator": 0.01,
      "diffuse_l1": 1.0,
      "diffuse_perceptual": 1.0,
      "pose_l1": 0.0,
    }
  )
  config.features = ConfigDict({"weights": "embedded", "layers": ()})

  config.log = ConfigDict({"every": 50, "pictures_every": 1000, "tensorboard": True})
  config.checkpoint = ConfigDict({"every": 1000})
  return config
