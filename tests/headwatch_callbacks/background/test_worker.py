"""What the worker process does, in this one: each request gets its answer, and the end of the training is its own."""

import warnings
from multiprocessing.connection import Pipe

import pytest
import torch

from headwatch.ablation import ablate_heads
from headwatch.model.find import find_architecture
from headwatch_callbacks.background.device import background_device, check_device
from headwatch_callbacks.background.messages import Precision, Request
from headwatch_callbacks.background.snapshot import from_bytes, pack, store, to_bytes
from headwatch_callbacks.background.worker import Answerer, serve
from headwatch_callbacks.questions import Ablation, Moment
from headwatch_callbacks.questions.question import Question
from tests.headwatch_callbacks.background.questions import Fails, Says, State, Warns
from tests.models import random_pairs, tiny_gpt2

CPU = torch.device("cpu")
MEMORY = torch.zeros(2**20, dtype=torch.uint8)
PLAIN = Precision(None, "highest")


def request(question, model, precision=PLAIN):
    stored = store(pack(model), MEMORY)
    return Request(store(pack(question), MEMORY, stored.stop), stored, Moment(7, 2), precision)


def answer(question, precision=PLAIN):
    return Answerer(MEMORY, CPU).answer(request(question, tiny_gpt2().train(), precision))


def test_an_answer_is_that_of_the_function():
    question, model = Ablation(random_pairs(), kind="resample", metric="loss"), tiny_gpt2()
    question.prepare(find_architecture(model))
    [result] = from_bytes(to_bytes(Answerer(MEMORY, CPU).answer(request(question, model)))).results
    wanted = ablate_heads(model, random_pairs(), kind="resample", metric="loss")
    torch.testing.assert_close(result.effects.per_pair, wanted.per_pair, rtol=0, atol=1e-6)
    assert (result.step, result.epoch, result.label) == (7, 2, "ablation/z/resample/loss")
    assert result.seconds > 0


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("matmul", ["highest", "high"])
def test_the_model_is_asked_in_evaluation_mode_and_the_trainings_precision(bf16, matmul):
    before = torch.get_float32_matmul_precision()
    try:
        [result] = answer(State(), Precision(torch.bfloat16 if bf16 else None, matmul)).results
    finally:
        torch.set_float32_matmul_precision(before)
    state = {name: bool(value[0, 0]) for name, value in result.scores.items() if name != "threads"}
    assert state == {"training": False, "gradients": False, "bf16": bf16, "matmul": matmul == "high"}


def test_the_precision_of_the_code_around_is_known():
    assert Precision.current(CPU).autocast is None
    with torch.autocast("cpu", torch.float16):
        assert Precision.current(CPU).autocast == torch.float16


def test_what_fails_is_told_and_what_warns_is_passed_on():
    failed = answer(Fails())
    assert (failed.error, failed.loaded, failed.results) == ("RuntimeError: no such luck", True, ())
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a process that no test started
        assert answer(Warns()).warned == [("a word of warning", RuntimeWarning)]


class Gone(Question):
    probe = asked = "gone"

    def measure(self, model, at, progress):
        raise AssertionError


def test_what_can_not_be_imported_there_is_told_apart(monkeypatch):
    asked = request(Gone(), tiny_gpt2())
    monkeypatch.delitem(globals(), "Gone")
    found = Answerer(MEMORY, CPU).answer(asked)
    assert not found.loaded
    assert "Can't get attribute 'Gone'" in found.error


def test_a_second_question_is_asked_of_the_same_snapshot():
    answerer = Answerer(MEMORY, CPU)
    first = request(Says(), tiny_gpt2())
    again = Request(first.question, None, Moment(8), PLAIN)
    [one], [two] = answerer.answer(first).results, answerer.answer(again).results
    assert one.scores["s"].equal(two.scores["s"])
    assert two.step == 8


@pytest.mark.parametrize("end", ["told", "vanished"])
def test_it_ends_with_the_training(end):
    ours, theirs = Pipe()
    ours.send_bytes(to_bytes(request(Says(), tiny_gpt2())))
    if end == "told":
        ours.send_bytes(to_bytes(None))
    else:
        ours.close()
    serve(theirs, Answerer(MEMORY, CPU))
    theirs.close()
    if end == "told":
        assert from_bytes(ours.recv_bytes()).results


def test_a_device_is_named_as_torch_names_it():
    assert background_device(False) is None
    assert background_device(True) == CPU
    assert background_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match=r"background='gpu2' names no device: give True .* 'cuda:1'"):
        background_device("gpu2")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_device(torch.device("cuda:0"))
    with pytest.raises(ValueError, match="background='cuda:1' can't take effect: this machine has 1 CUDA"):
        check_device(torch.device("cuda:1"))


def test_a_system_without_handing_on_of_memory_is_refused(monkeypatch):
    monkeypatch.setattr("headwatch_callbacks.background.device.os.name", "nt")
    with pytest.raises(ValueError, match=r"background=True can't take effect here.*Linux and macOS"):
        background_device(True)
