# %% [markdown]
# # Sweep, store, figure
#
# A sweep runs every method on a grid of tasks and writes a *store*: a labelled array on disk, with the mean, the
# interval and the seed of every cell. This page runs a small one, opens it and draws from it.
#
# ## Run a sweep
#
# In a terminal it is one command:
#
# ```sh
# python -m sims.risk_sweep --preset smoke --weakness rotated --methods source weak ceiling naive_ft icl_refine_fresh
# ```
#
# Here the same command is called from Python, so that this page can run it.

# %%
import tempfile

import matplotlib.pyplot as plt

from sims.inspect import main as inspect
from sims.risk_sweep.__main__ import main as risk_sweep
from w2s_jax.results import open_results

out = tempfile.mkdtemp()
options = ["--preset", "smoke", "--weakness", "rotated", "--out", out, "--no-compilation-cache"]
methods = ["--methods", "source", "weak", "ceiling", "naive_ft", "icl_refine_fresh"]
print("exit code", risk_sweep([*options, *methods]))

# %% [markdown]
# The same command again does no work: the store is complete. A run that was killed goes on where it was. With
# `--target-sem 0.02` replicates are added until every standard error is below 2% of its risk ([running
# sweeps](../running.md)).
#
# ## Open the store
#
# `open_results` gives an `xarray.Dataset`. Every variable has a name in words and a unit;
# [stores](../reference/stores.md) lists them for all sweeps.

# %%
results = open_results(f"{out}/risk_sweep.zarr")
print(dict(results.sizes))
print(results.risk_mean.attrs["long_name"], "in", results.risk_mean.attrs["units"])
cell = results.sel(weakness="rotated", weak_accuracy=0.7, concept_shift=0.75, sample_size=256, num_icl=8)
for method in results.method.values:
    found = cell.sel(method=method)
    print(f"{method:18s} {float(found.risk_mean):.3f} +- {float(found.risk_sem):.3f}")

# %% [markdown]
# ## Compare two methods
#
# All methods of a replicate see the same draws, and the store keeps their covariance. So the difference of two risks
# has a standard error of its own, which is mostly smaller than either.

# %%
pair = ["naive_ft", "icl_refine_fresh"]
covariance = cell.risk_cov.sel(method=pair, method_2=pair).values
variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
difference = float(cell.risk_mean.sel(method="naive_ft") - cell.risk_mean.sel(method="icl_refine_fresh"))
error = float((variance / cell.num_replicates.sel(method="naive_ft")) ** 0.5)
print(f"naive fine-tuning less refinement: {difference:.3f} +- {error:.3f}")

# %% [markdown]
# ## Draw
#
# `python -m figures.make --results DIR` draws the figures of the [gallery](../gallery.md) from your own stores. A plot
# of your own is a few lines:

# %% alt="Excess risk of naive fine-tuning and of refinement against weak accuracy, with intervals"
figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
for method, colour in zip(pair, ("tab:orange", "tab:blue")):
    chosen = results.sel(method=method, weakness="rotated", concept_shift=0.75, sample_size=256, num_icl=8)
    axes.errorbar(chosen.weak_accuracy, chosen.risk_mean, 1.96 * chosen.risk_sem, color=colour, label=method)
axes.set(xlabel="weak accuracy", ylabel="excess risk", yscale="log")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# *Risk against the teacher's accuracy, from the store above: means of 200 replicates with 95% intervals, 256 weak
# labels, prompts of 8 examples.*
#
# ## Where a number comes from
#
# A store knows its configuration, seed, versions and commit. `python -m sims.inspect STORE` prints them and checks that
# every block can be read.

# %%
print("exit code", inspect([f"{out}/risk_sweep.zarr"]))
