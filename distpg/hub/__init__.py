"""Policies on the Hugging Face Hub, or on another server with its interface (HF_ENDPOINT).

huggingface_hub is imported here alone.
"""
