"""Callbacks, one file each. The order in which a user gives them never matters, because each has a documented `order`.

| order | callback | because |
|---|---|---|
| 0 | your own, KeepState | they see the gradients as `backward` left them |
| 10 | GradientAccumulation | gradients get their true scale before anyone judges their size |
| 20 | StopOnNonFinite | a NaN must be found before clipping spreads it over all gradients |
| 30 | GradientClip | |
| 40 | EMA | the average is in place before anyone saves what validation measured |
| 45 | ProgressCallback, CSVLogger | an epoch's row comes before what is said about it |
| 50 | EarlyStoppingCallback, ReduceLROnPlateau | |
| 55 | SaveModelCallback | its best weights are the last word at the end of a fit |
| 60 | MixUp, CutMix | after everything else that changes the inputs |
| 70 | BnFreeze | |
"""
