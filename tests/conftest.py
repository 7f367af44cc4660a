"""What every test shares: repeatable hypothesis runs, data beside the project, small bundles."""

from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public data sets in the folder beside the repository; without it the test is skipped."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("there is no shared/data beside the repository")
    return path


@pytest.fixture(scope="session")
def bundle_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small real bundle of every model by name, fitted on random data; copy it to change it."""
    # Imported here: only tests that ask for bundles need the training stack.
    import numpy as np  # noqa: PLC0415

    from models.report import Measured, Report, Row  # noqa: PLC0415
    from models.specs import SPECS  # noqa: PLC0415
    from training.calibration import Platt  # noqa: PLC0415
    from training.export import export, prove  # noqa: PLC0415
    from training.graphs import send_time_graph, trees_graph  # noqa: PLC0415
    from training.rhythm import HOURS_PER_WEEK, Rhythm, seen_after  # noqa: PLC0415
    from training.send_link import prior_link  # noqa: PLC0415
    from training.trees import CalibratedTrees, fit_trees  # noqa: PLC0415

    root = tmp_path_factory.mktemp("bundles")
    folders = {}
    for spec in SPECS:
        rng = np.random.default_rng(len(spec.inputs))
        rows = rng.gamma(1.0, 2.0, (1_500, len(spec.inputs))).astype(np.float32)
        if spec.name == "send_time":
            weeks = rng.dirichlet(np.full(HOURS_PER_WEEK, 2.0), 3)
            rhythm = Rhythm(weeks, np.full(3, 1 / 3), 16.0, 60.0, 400.0)
            link = prior_link(spec.prior, len(spec.inputs) - HOURS_PER_WEEK)
            graph, thresholds = send_time_graph(rhythm, link, spec), []

            def native(part, rhythm=rhythm, link=link):
                wide = part.astype(np.float64)
                activity = rhythm.activity(wide[:, :HOURS_PER_WEEK])
                p_engage = link.predict(seen_after(activity), wide[:, HOURS_PER_WEEK:])
                answers = {"p_engage": p_engage, "activity": activity}
                return {name: answer.astype(np.float32) for name, answer in answers.items()}

        else:
            rows[rng.random(rows.shape) < 0.1] = np.nan
            chance = 1 / (1 + np.exp(2 - np.nan_to_num(rows[:, 0]) + np.nan_to_num(rows[:, 3])))
            y = (rng.random(len(rows)) < chance).astype(np.float64)
            booster = fit_trees(
                (rows[:1_000], y[:1_000]), (rows[1_000:], y[1_000:]), inputs=spec.inputs, seed=1,
                learning_rate=0.3, min_data_in_leaf=20,
            )  # fmt: skip
            model = CalibratedTrees(booster, Platt(0.9, -0.1), spec.inputs)
            graph, thresholds = trees_graph(model, spec), model.thresholds()

            def native(part, model=model, name=spec.outputs[0].name):
                return {name: model.predict(part).astype(np.float32)[:, None]}

        exported = prove(spec, graph, native, rows, thresholds=thresholds)
        measured = Measured(0.5, 0.4, 0.6)
        report = Report(
            model=spec.name, as_of="2024-01-01 00:00 UTC", test="random rows", gain_of="log loss",
            row=Row("random", {"AUC": measured}), baselines=[], parity=exported.parity,
        )  # fmt: skip
        about = {
            "as_of": report.as_of, "trained_rows": len(rows), "fingerprint": "f" * 16,
            "label": "random",
        }  # fmt: skip
        export(exported, root / spec.name, report=report, about=about)
        folders[spec.name] = root / spec.name
    return folders
