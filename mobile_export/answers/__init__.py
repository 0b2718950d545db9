"""The answer on a picture, as an app would give it: of a written file, or of the model in PyTorch.

prepare.py   a picture as the model's authors prepare it, and the way back to its own pixels
decode.py    outputs to an answer: classes, objects, regions, an image, a map, or just tensors
draw.py      an answer drawn on its picture
machine.py   what answers: a file with its manifest, or a model
"""
