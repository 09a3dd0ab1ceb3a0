"""Numbers that others have published, typed from their papers, pages and code; none is ours.

APs are percent on COCO.  A table's rows are method, backbone, AP, AP50, AP75; None: not given.
"""

from __future__ import annotations

Row = tuple[str, str, float, float, float | None]

FASTER_VGG_MS = 198.0  # Faster R-CNN, table 5: VGG-16, one image on a K40, milliseconds
K40_TFLOPS = 4.29  # NVIDIA's data sheet of the Tesla K40, float32

# Mask R-CNN, table 1: masks, test-dev
MASK_AP: tuple[Row, ...] = (
    ("MNC", "ResNet-101-C4", 24.6, 44.3, 24.8),
    ("FCIS + OHEM", "ResNet-101-C5-dilated", 29.2, 49.5, None),
    ("FCIS+++ + OHEM", "ResNet-101-C5-dilated", 33.6, 54.5, None),
    ("Mask R-CNN", "ResNet-101-C4", 33.1, 54.9, 34.8),
    ("Mask R-CNN", "ResNet-101-FPN", 35.7, 58.0, 37.8),
    ("Mask R-CNN", "ResNeXt-101-FPN", 37.1, 60.0, 39.4),
)

# Mask R-CNN, table 3: boxes, test-dev
BOX_AP: tuple[Row, ...] = (
    ("Faster R-CNN+++", "ResNet-101-C4", 34.9, 55.7, 37.4),
    ("Faster R-CNN w FPN", "ResNet-101-FPN", 36.2, 59.1, 39.0),
    ("Faster R-CNN by G-RMI", "Inception-ResNet-v2", 34.7, 55.5, 36.7),
    ("Faster R-CNN w TDM", "Inception-ResNet-v2-TDM", 36.8, 57.7, 39.2),
    ("Faster R-CNN, RoIAlign", "ResNet-101-FPN", 37.3, 59.6, 40.3),
    ("Mask R-CNN", "ResNet-101-FPN", 38.2, 60.3, 41.7),
    ("Mask R-CNN", "ResNeXt-101-FPN", 39.8, 62.3, 43.4),
)

# What S4 prints of the two tables, in its order
SLIDES_MASK_AP = (
    (24.6, 44.3, 24.8),
    (29.2, 49.5, None),
    (33.6, 54.5, None),
    (33.1, 54.9, 34.8),
    (35.7, 58.0, 37.8),
    (37.1, 60.0, 39.4),
)
SLIDES_BOX_AP = (
    (34.9, 55.7, 37.4),
    (36.2, 59.1, 39.0),
    (34.7, 55.5, 36.7),
    (36.8, 57.7, 39.2),
    (37.3, 59.6, 40.3),
    (38.2, 60.3, 41.7),
    (39.8, 62.3, 43.4),
)

# Mask R-CNN, tables 2b to 2d: mask AP, AP50, AP75 on minival
SOFTMAX, SIGMOID = (24.8, 44.1, 25.1), (30.3, 51.2, 31.5)  # ResNet-50-C4
ROI_POOL_C4, ROI_ALIGN_MAX_C4, ROI_ALIGN_C4 = (26.9, 48.8, 26.4), (30.2, 51.0, 31.8), SIGMOID
ROI_POOL_C5, ROI_ALIGN_C5 = (23.6, 46.5, 21.6), (30.9, 51.8, 32.1)  # stride 32
ROI_ALIGN_GAIN_FPN = 1.5  # AP, section 4.2

# Mask R-CNN, sections 3.1, 4.4 and appendix A
INFERENCE_MS, RESIZE_MS = 195.0, 15.0  # ResNet-101-FPN on an M40, milliseconds an image
ITERATIONS, SECONDS_A_STEP = 160_000, 0.72  # ResNet-50-FPN, 16 images on 8 GPUs
HOURS_R50, HOURS_R101 = 32.0, 44.0

# detectron2's model zoo: the paper's ResNet-50-FPN with longer training and stronger augmentation
R50_FPN_400_EPOCHS = 42.5  # mask AP on val2017
PERSON_MASK_AP = 45.8  # percent, Mask R-CNN, table 5: people only, masks learned
PERSON_MASK_AP_WITH_KEYPOINTS = 45.1  # the same, keypoints learned beside them
TORCHVISION_PARAMETERS = 44_401_393  # of its maskrcnn_resnet50_fpn, as its documentation says
