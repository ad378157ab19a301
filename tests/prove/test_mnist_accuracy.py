"""What ``make demo`` promises, twice: accuracy, time, and the same network from the same seed."""

from chainrule.apps.demo import EPOCHS, learn


def test_the_demo_reaches_its_accuracy_in_time_and_repeats_itself(tmp_path, record_property):
    first, second = (learn(tmp_path / name, verbose=2) for name in "ab")
    record_property("epochs", EPOCHS)
    for name in ("test_accuracy", "test_loss", "train_seconds"):
        record_property(name, [first[name], second[name]])
    assert first["test_accuracy"] >= 0.985
    assert (first["test_accuracy"], first["test_loss"]) == (second["test_accuracy"], second["test_loss"])
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    assert min(first["train_seconds"], second["train_seconds"]) <= 90
