"""File formats, as functions of bytes: pictures, masks, boxes, optical flow, COCO, Caffe."""
