"""A TFLite file in TensorFlow's interpreter: run_tensorflow.py FILE INPUT prints the answer."""

import json
import sys

import numpy as np
import tensorflow as tf

file, values = sys.argv[1:]
interpreter = tf.lite.Interpreter(file)
interpreter.allocate_tensors()
(taken,) = interpreter.get_input_details()
interpreter.set_tensor(taken["index"], np.fromfile(values, "<f4").reshape(taken["shape"]))
interpreter.invoke()
outputs = [
    (each["name"], interpreter.get_tensor(each["index"]).ravel().tolist())
    for each in interpreter.get_output_details()
]
print(json.dumps({"inputs": [taken["name"]], "outputs": outputs}))
