"""Replicas of the models in processes of their own, on one machine or many: each decodes prompts of one session."""
