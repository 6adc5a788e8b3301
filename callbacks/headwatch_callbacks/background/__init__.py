"""Passes that don't stop a training: a question put to a snapshot of the weights, in a process of its own.

`HeadAblation("pairs.jsonl", every_n_train_steps=100, background=True)` holds up the training for one copy of the
parameters and a few milliseconds; `background="cuda:1"` has the pass run on that GPU. No trainer is known here.

- A result stands at the step whose weights it is about, whenever it arrives. Training stays the same bit for bit.
- One snapshot is worked on at a time. Probes that are due at one step share it; a pass that comes due meanwhile is
  skipped, and a note in the record counts them.
- The end of a training waits for what is under way. The pass at the end itself runs in the training process.
- The process imports the user's modules, and never runs the user's script. A model or question that can't be
  pickled, or whose class the script itself defines, is told in one warning and asked in the foreground.
- A process that dies is told in one warning. Passes until the end of the training are skipped then: had it run out
  of memory, a pass in the training process could take the training with it.
- It has the threads that the training leaves of this machine's cores, at least one, and a low priority.
- `ModelCheckpoint(monitor=...)` sees nothing of these passes, which are answered after other steps were taken.
"""
