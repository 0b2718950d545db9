"""An ncnn model with nothing but ncnn and NumPy: run_ncnn.py PARAM INPUT prints the answer."""

import json
import sys
from pathlib import Path

import ncnn
import numpy as np

param, values = sys.argv[1:]
net = ncnn.Net()
net.opt.num_threads = 1
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
assert net.load_param(param) == 0
assert net.load_model(param.removesuffix(".param") + ".bin") == 0
width, height, channels = (
    int(word.split("=")[1])
    for line in Path(param).read_text().splitlines()
    if line.startswith("Input ")
    for word in line.split()[-3:]
)
image = np.fromfile(values, "<f4").reshape(channels, height, width)
extractor = net.create_extractor()
(taken,), given = net.input_names(), net.output_names()
extractor.input(taken, ncnn.Mat(image).clone())
outputs = []
for name in given:
    status, mat = extractor.extract(name)
    assert status == 0
    outputs.append((name, np.array(mat).ravel().tolist()))
print(json.dumps({"inputs": [taken], "outputs": outputs}))
