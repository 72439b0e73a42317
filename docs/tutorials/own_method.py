# %% [markdown]
# # Your own method in the arena
#
# You have an idea for weak-to-strong learning. This page turns it into a method, tries it on one task, ranks it among
# published ones on the same draws, and shows what happens to a method that looks where it should not.
#
# ## The idea
#
# Refinement lets the strong model answer each input again, with weak examples in its prompt, and fine-tunes on what it
# says. One answer is noisy: the model draws a concept, then a label. *Learn the expected answer instead*, that is, the
# mean of many answers.
#
# ## One task
#
# A *view* is what a method may see of a task: features, weak labels, prompts, the source (the strong model before it is
# aligned). The student is linear and starts at the source.

# %%
import contextlib
import io
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp

import w2s_jax as w2s
from sims.methods.__main__ import main as arena
from w2s_jax.methods import METHODS, draw_view
from w2s_jax.results import open_results
from w2s_jax.types import Dataset

task = w2s.make_task(num_concepts=4, dim=16, weak_accuracy=0.7, concept_shift=0.5)
view = draw_view(jax.random.key(0), task, num_samples=256, num_icl=8)
print("features", view.features.shape, " weak labels", view.weak_labels.shape, " prompts", view.prompts.labels.shape)


# %% [markdown]
# Each of the 256 prompts holds 8 weak examples. After a prompt, the strong model weighs its concepts by their posterior
# probability, and expects the label that the concepts give on that average.


# %%
def fit(view, penalty):
    """Fine-tune on the expected answers after a prompt."""
    weights = jnp.exp(jax.vmap(lambda prompt: w2s.concept_log_posterior(view.source, prompt))(view.prompts))
    labels = (weights * (view.features @ view.source.concepts.T)).sum(axis=1)
    return w2s.ridge_to_source(w2s.moments(Dataset(view.features, labels)), view.source.source_coef, penalty)


for name, coef in {
    "naive fine-tuning": METHODS["naive_ft"](view),
    "refinement, one answer": METHODS["icl_refine"](view),
    "refinement, expected answer": fit(view, penalty=0.1),
}.items():
    print(f"{name:28s} risk {float(w2s.excess_risk(coef, task.target_coef)):.4f}")

# %% [markdown]
# ## A fair comparison
#
# One draw of one task proves little. The arena runs methods on a grid of tasks, with the same draws for all, tunes
# their knobs on held-out weak labels, and gives a method only what it declares. It reads a file that defines `METHOD`.
# The template is this very idea:

# %%
template = Path("docs/my_method.py").read_text()
print(template[template.index("METHOD =") :])

# %% [markdown]
# In a terminal it is `python -m sims.methods --plugin my_method.py --preset smoke --out results/mine`. Here the command
# is called from Python, with four rivals.

# %%
out = tempfile.mkdtemp()
rivals = ["ceiling", "naive_ft", "early_stopping", "icl_refine"]
options = ["--preset", "smoke", "--relaxed", "wrong_concept", "--out", out, "--no-compilation-cache"]
print("exit code", arena(["--plugin", "docs/my_method.py", "--methods", *rivals, "mean_refine", *options]))

# %% [markdown]
# ## What the store says
#
# `budget` is what all methods have the same of: examples, or compute. Refinement reads prompts, so that with the same
# compute it has fewer examples.

# %%
found = open_results(f"{out}/methods.zarr")
for budget in found.budget.values:
    print(f"same {budget}")
    for method in found.method.values:
        own = found.sel(budget=budget, method=method)
        rank = f"rank {float(own.rank_mean):.2f}" if own.rank_mean.notnull() else "not ranked: reads true labels"
        risk = own.risk_mean.sel(tuning="weak_labels")
        print(f"  {method:16s} median risk {float(risk.median()):.4f}   {rank}")

# %% [markdown]
# ## A method that peeks
#
# A method gets nothing that it does not declare in `sees`. This one reads the weak labels without declaring them, and
# ends with an error of one sentence; nothing is written.

# %%
peeking = template.replace("view.features, labels", "view.features, view.weak_labels")
path = Path(out, "peeking.py")
path.write_text(peeking)
said = io.StringIO()
with contextlib.redirect_stderr(said):
    code = arena(["--plugin", str(path), "--preset", "smoke", "--out", f"{out}/peeking"])
print(said.getvalue().replace(out, "...").strip())
print("exit code", code, " written:", Path(out, "peeking").exists())

# %% [markdown]
# Concepts and features also come in a random order in each replicate, so that no method can know the target by its
# place. Next: [run it on the tasks of the leaderboard and submit it](../leaderboard.md#submit-a-method); [what each
# published method does](../methods.md).
