"""Accuracy of written files on a labelled data set, beside that of their models.

judge.py       what every kind of data set does: items, records, figures, differences
classes.py     folders of classes (top-1, top-5)
boxes.py       COCO's annotations (box AP)
masks.py       folders of pictures and masks (mIoU)
pairs.py       folders of small and large pictures (PSNR)
intervals.py   95 % intervals of these figures
store.py       the file in which a run that was killed goes on
run.py         every machine on every picture
"""
