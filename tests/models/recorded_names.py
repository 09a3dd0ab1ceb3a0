"""What other systems call the losses of the recorded networks."""

LOSSES = {
    "loss_rpn_cls": "loss_objectness",
    "loss_rpn_loc": "loss_rpn_box_reg",
    "loss_rpn_bbox": "loss_rpn_box_reg",
    "loss_cls": "loss_classifier",
    "loss_bbox": "loss_box_reg",
}
