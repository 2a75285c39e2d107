import pytest, threading, time
from incontext_lora.demo.server import *
def P(**k): return {"9": {"class_type": "InContextProbe", "inputs": {"value": 3, "text": "a", **k}}}
def test_run(server):
    ev = []
    entry = server.run(P(), lambda n, d: ev.append((n, d)))
    assert entry["outputs"]["9"] == {"v": [3]}
    assert ("progress_text", {"node": "9", "text": "hällo a"}) in ev, ev
    assert "InContextProbe" in server.object_info("InContextProbe")
    vae = server.object_info("VAELoader")["VAELoader"]["input"]["required"]["vae_name"][0]
    assert "incontext-demo-autoencoder.safetensors" in vae
def test_boom(server):
    with pytest.raises(ExecutionFailed, match=r"Node 9 \(InContextProbe\) failed with ValueError: value was boom") as e:
        server.run(P(text="boom"))
    print(e.value)
def test_refused(server):
    with pytest.raises(PromptRefused) as e:
        server.run(P(value="x"))
    print(e.value)
    with pytest.raises(PromptRefused) as e:
        server.run({"1": {"class_type": "Nope", "inputs": {}}})
    print(e.value)
    with pytest.raises(PromptRefused) as e:
        server.run({})
    print(e.value)
    p = P(); p["10"] = {"class_type": "InContextProbe", "inputs": {"value": "x", "text": "b"}}
    with pytest.raises(PromptRefused) as e:
        server.run(p)
    print(e.value)
def test_interrupt(server):
    threading.Timer(1, server.interrupt).start()
    t = time.time()
    with pytest.raises(ExecutionInterrupted) as e:
        server.run(P(text="wait"))
    assert time.time() - t < 5
def test_upload(server, tmp_path):
    from PIL import Image
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a b.png")
    name = server.upload_image(tmp_path / "a b.png", "sub")
    assert name == "sub/a b.png"
    e = server.run({"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}})
    im = e["outputs"]["2"]["images"][0]
    assert server.fetch_image(**im)[:4] == b"\x89PNG"
    assert server.fetch_image("a b.png", "sub", "input")[:4] == b"\x89PNG"
def test_early_death(tmp_path):
    with pytest.raises(ServerError) as e, ComfyServer(tmp_path, extra_arguments=["--no-such"]):
        pass
    assert "unrecognized arguments: --no-such" in str(e.value), e.value
def test_late_death(server, tmp_path):
    import os, signal
    from incontext_lora import run
    run.prepare_base(tmp_path, run.ROOT)
    with ComfyServer(tmp_path) as s:
        threading.Timer(1.5, lambda: os.kill(s._process.pid, 9)).start()
        with pytest.raises(ServerError, match="closed the connection"):
            s.run(P(text="wait"))
        with pytest.raises(ServerError, match="does not answer"):
            s.object_info()
        private = s._private
    assert not private.exists()
