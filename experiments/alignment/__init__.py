"""All architectures under equal conditions (`python -m experiments.alignment`)."""
