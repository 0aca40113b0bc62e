# ruff: noqa: D100 -- the first cell says what this is
# %% [markdown]
# # Fine-tune from a notebook
#
# Editors that know the percent format (VS Code, PyCharm, Spyder, Jupyter with jupytext) show this file as a notebook.
# The cells call the manager without `await`: it has an event loop of its own, beside the notebook's.

# %%
from peft_studio import SyncConnectorManager, TrainingConfig

manager = SyncConnectorManager()
print([record.name for record in manager.list_connectors()])

# %% [markdown]
# ## A job
# `submit` checks everything that can be checked before it starts anything. The job is a process of its own: it goes on
# when the notebook is closed, and `manager.jobs.list_jobs()` finds it again.

# %%
config = TrainingConfig(
    base_model="HuggingFaceTB/SmolLM2-135M-Instruct",
    dataset_path="lighthouse.jsonl",
    learning_rate=1e-3,
    num_epochs=6,
)
job = manager.jobs.submit("local", config)
print(job.id, job.status)

# %% [markdown]
# ## While it trains
# Interrupting the kernel ends this loop, not the job. Run the cell again to follow it from the beginning.

# %%
for event in manager.jobs.follow(job.id):
    if event.type == "step":
        print(f"step {event.data['step']}  loss {event.data['loss']:.4f}")

# %% [markdown]
# ## What came of it

# %%
losses = [row["loss"] for row in manager.jobs.metrics(job.id) if row["type"] == "step"]
print(f"loss: {losses[0]:.4f} -> {losses[-1]:.4f}")

# %%
adapter = manager.jobs.pull(job.id, "notebook-adapter")
print("adapter:", adapter)

# %%
manager.close()
