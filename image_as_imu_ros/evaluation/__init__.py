"""Recordings → errors against their ground truth, in tables, plots and a report; and other measurements of the method.

The main path is that of the command `evaluate`. Read in this order:

1. `config`: how a recording is evaluated. `evaluate`: the order of the steps, and what they give.
2. `estimator_run`: the estimator over the frames. It takes from `exposure` how each was exposed, from `ahead` what the
   network said in advance; it leaves the estimates in `kept_estimates`, and drawings (`overlay`) of some in `gallery`.
3. `samples`: the estimates beside the ground truth. `metrics`: their errors. `ground_truth_fit`: is it in the camera's
   axes and on its clock?
4. `report/`: the folder of results: tables, plots, report.html.

Beside it: `baselines/`, other systems on the same frames and the comparison with them; `benchmarks/`, the time that
engines take, and many recordings in one table; `envelope/`, rendered frames, one property swept at a time;
`calibration/`, camera and gyroscope; `single_image/`, one image file.
"""
