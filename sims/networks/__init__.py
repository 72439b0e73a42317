"""Weak-to-strong alignment of trained networks: what `sims/incontext.py` runs, one idea a file.

spec -> world (teachers, prompts) -> strong (pre-training), finetune, labels (refinement), distance -> seeds -> results
"""
