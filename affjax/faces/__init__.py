"""Photos: reading them, finding faces and landmarks, cropping to the networks' view."""
