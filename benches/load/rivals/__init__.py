"""The same model behind what people serve models with: `make rivals`. They score what is sent, and do nothing else."""
