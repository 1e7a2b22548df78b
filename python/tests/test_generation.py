# SPDX-License-Identifier: MIT OR Apache-2.0
"""Text as it is made: iteration, asyncio, cancelling, Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import time

import numpy as np
import pytest

import cogniware_core as cw
from conftest import child

ENDLESS = {"max_tokens": 900, "ignore_eos": True}


def test_iteration(model):
    generation = model.generate("Tell me a story.", max_tokens=10, seed=3, logprobs=True)
    assert iter(generation) is generation
    tokens = list(generation)
    assert all(isinstance(token, cw.Token) and isinstance(token, str) for token in tokens)
    assert "".join(tokens) == generation.text == generation.result()
    assert [token.id for token in tokens if token.id is not None] == generation.tokens
    assert [token.logprob for token in tokens if token.logprob is not None] == generation.logprobs
    assert all(logprob <= 0 for logprob in generation.logprobs)
    assert generation.done and generation.stats["generated_tokens"] == len(generation.tokens) <= 10
    assert generation.stats["seed"] == 3 and generation.stats["finish"] in ("length", "stop")
    assert list(generation) == []  # at its end
    again = model.generate("Tell me a story.", max_tokens=10, seed=3)
    assert again.result(timeout=60) == generation.text


def test_tokens_come_as_they_are_made(model):
    generation = model.generate("x", **ENDLESS)
    first = next(generation)
    assert not generation.done
    assert isinstance(first, cw.Token)
    with pytest.raises(cw.BusyError):
        generation.text
    assert not generation.wait(0)
    with pytest.raises(TimeoutError):
        generation.result(timeout=0.01)
    generation.cancel()
    assert generation.wait(60)
    assert generation.stats["finish"] == "cancelled" and generation.stats["generated_tokens"] < 900
    generation.cancel()


def test_options(model):
    stopped = model.generate("1 2 3 4", max_tokens=200, temperature=0, stop=["zz", " the"])
    assert " the" not in stopped.result()
    assert model.generate("x", max_tokens=5, stop=None, system=None).result() is not None
    for wrong in ({"warmth": 1}, {"max_tokens": -1}, {"max_tokens": "many"}, {"temperature": float("nan")}):
        with pytest.raises(cw.InvalidArgumentError, match=next(iter(wrong))):
            model.generate("x", **wrong)
    with pytest.raises(TypeError):
        model.generate("x", stop=[1])
    with pytest.raises(TypeError):
        model.generate(3)
    with pytest.raises(ValueError, match="null character"):
        model.generate("a\0b")


def test_dropping_it_cancels(tenant, model):
    generation = model.generate("x", **ENDLESS)
    next(generation)
    del generation
    gc.collect()
    # The model is free at once: this one need not wait for 900 tokens.
    assert model.generate("y", max_tokens=2).result(timeout=30)


def test_a_with_block_cancels(model):
    with model.generate("x", **ENDLESS) as generation:
        next(generation)
    assert generation.wait(30) and generation.stats["finish"] == "cancelled"


def test_a_generation_keeps_its_model_and_tenant(name):
    generation = cw.Model(cw.Tenant(name, memory_limit=256 << 20)).generate("A fox", max_tokens=20)
    gc.collect()
    assert generation.result(timeout=60)


def test_closing_the_tenant_ends_it(name):
    tenant = cw.Tenant(name, memory_limit=256 << 20)
    model = cw.Model(tenant)
    assert model.tenant is tenant
    tenant.close()
    with pytest.raises(cw.Error):
        model.generate("x").result(timeout=60)
    with pytest.raises(cw.Error):
        tenant.usage()


def test_several_threads_share_one_generation(model):
    generation = model.generate("x", max_tokens=60, ignore_eos=True)
    parts = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda part=part: part.extend(generation)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(token.id is not None for part in parts for token in part) == 60


def test_tokens_and_embeddings(model):
    ids = model.tokenize("A fox runs.")
    assert ids and model.detokenize(ids) == "A fox runs."
    with pytest.raises(cw.InvalidArgumentError, match="ids"):
        model.detokenize([10**6])
    vectors = model.embed(["A fox", "A river", "A fox"])
    assert vectors.shape == (3, int(model.info()["dim"])) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert np.allclose(vectors[0], vectors[2], atol=1e-5) and not np.allclose(vectors[0], vectors[1])
    assert model.embed([]).shape[0] == 0


# --- asyncio ---


def test_async_for(model):
    async def collect():
        return [token async for token in model.agenerate("A fox", max_tokens=12, seed=5)]

    tokens = asyncio.run(collect())
    assert "".join(tokens) == model.generate("A fox", max_tokens=12, seed=5).result()


def test_many_at_once_and_await(model):
    async def run():
        return await asyncio.gather(*(_text(model.generate("A fox", max_tokens=12, seed=n)) for n in range(8)))

    async def _text(generation):
        return await generation

    texts = asyncio.run(run())
    assert len(texts) == 8 and all(texts)


def test_the_loop_goes_on_meanwhile(model):
    async def run():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        clock = asyncio.ensure_future(tick())
        count = 0
        async for _ in model.generate("x", max_tokens=200, ignore_eos=True):
            count += 1
        clock.cancel()
        return ticks, count

    ticks, count = asyncio.run(run())
    assert ticks > 3 and count >= 200


def test_a_slow_consumer_does_not_spin_the_loop(model):
    async def run():
        wakes = 0
        loop = asyncio.get_running_loop()
        async for _ in model.agenerate("x", max_tokens=3, ignore_eos=True):
            before = time.process_time()
            await asyncio.sleep(0.2)
            wakes = max(wakes, time.process_time() - before)
        assert loop.is_running()
        return wakes

    assert asyncio.run(run()) < 0.15


def test_cancelling_the_task_cancels_the_work(model):
    started = []

    async def run():
        generation = model.generate("x", **ENDLESS)
        started.append(generation)

        async def consume():
            async for _ in generation:
                await asyncio.sleep(0)

        task = asyncio.ensure_future(consume())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    (generation,) = started
    assert generation.wait(30)
    assert generation.stats["finish"] in ("cancelled", "length")


# --- Ctrl-C ---


def test_ctrl_c_while_a_token_is_awaited_cancels():
    script = """
import os, signal, threading, time
import cogniware_core as cw
tenant = cw.Tenant("interrupted", memory_limit=256 << 20)
generation = cw.Model(tenant).generate("x", max_tokens=900, ignore_eos=True)
threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
count = 0
try:
    while True:
        for token in generation:
            count += 1
        generation = cw.Model(tenant).generate("x", max_tokens=900, ignore_eos=True)
except KeyboardInterrupt:
    generation.cancel()
    assert generation.wait(30)
    print("interrupted", generation.stats["finish"])
"""
    ended = child(script)
    assert ended.returncode == 0 and "interrupted" in ended.stdout, ended.stderr


@pytest.mark.parametrize(
    "waiting", ["generation.wait()", "generation.result()", "bridge.generate('llm', 'x')", "bridge.wait_for_task(task)"]
)
def test_ctrl_c_ends_each_wait(waiting):
    # A stopped engine: the callback of another task holds the model's tenant busy is not needed, long work is enough.
    script = f"""
import os, signal, threading, time
import cogniware_core as cw
cw.KernelDriverManager.get_instance().initialize_system()
manager = cw.PythonCppBridgeManager.get_instance()
manager.initialize_bridge()
bridge = manager.get_bridge()
endless = {{"max_tokens": 900, "ignore_eos": True}}
assert bridge.register_llm("llm", endless)
interrupted = False
threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    while True:
        generation = bridge.stream("llm", "x", endless)
        task = bridge.schedule_task("llm", "inference", {{"prompt": "x"}})
        {waiting}
        bridge.cancel_task(task)
except KeyboardInterrupt:
    interrupted = True
manager.shutdown_bridge()
print("interrupted" if interrupted else "went on")
"""
    ended = child(script)
    assert ended.returncode == 0 and "interrupted" in ended.stdout, ended.stderr


def test_ctrl_c_in_the_main_thread_only():
    assert threading.current_thread() is threading.main_thread()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
