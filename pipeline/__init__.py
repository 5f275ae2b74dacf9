"""Data, artifacts and stages: what each stage computes and which stage feeds which. Never imports Prefect.

`graph.py` declares the graph; the stage `flow-filter` is computed by `stages/flow_filter.py`, and so on. On the left
the stage and what it makes one artifact of; after the arrow the stages that it needs, and (what it reads from outside).

DAG
---

    optical-flow         video  <- (frames + partners + flow of boxed | fusion | validation | scored)
    flow-images          video  <- optical-flow
    appearance-training  model  <- (frames + masks of stills | validation)
    appearance-scores    video  <- appearance-training, (frames of boxed | fusion | validation | scored)
    box-pruning          video  <- appearance-scores, (frames + boxes of boxed)
    box-motion           video  <- optical-flow, flow-images, (boxes of boxed)
    flow-filter          video  <- box-pruning, box-motion
    motion-training      model  <- optical-flow, flow-images, flow-filter, (masks of validation)
    motion-scores        video  <- flow-images, motion-training
    fusion-training      model  <- appearance-scores, motion-scores, (masks of fusion | validation)
    prediction           video  <- optical-flow, appearance-scores, motion-scores, fusion-training
    scoring              video  <- prediction, (masks + others of scored)

    With weak-labels.rounds = 2, after motion-training:
    motion-scores-2      video  <- flow-images, motion-training
    box-pruning-2        video  <- appearance-scores, motion-scores-2, (frames + boxes of boxed)
    flow-filter-2        video  <- box-pruning-2, box-motion
    motion-training-2    model  <- optical-flow, flow-images, flow-filter-2, (masks of validation)

    Where their section has steps, ahead of the training of the same stream:
    appearance-pretraining  model  <- (frames + masks of stills | validation)
    motion-pretraining   model  <- flow-images, (masks of stills | validation)

Rooms
-----

A layer imports only layers below it; rooms on one line don't know each other.

    study        what weak labels are worth, against true masks
    run          what was asked for, what is found, what is computed: request, inputs, session, runner
    report       a run for people: report, comparison, audit, tables, export
      | stages   the twelve nodes, a file each, named as the graph names them
    training     the training loop and what goes into it
    networks     networks as files: trained weights, scores of frames, Caffe in, ONNX out
    weak_labels  regions in boxes, motion in boxes, verdicts
    flow         optical flow: estimated, without the camera's motion, coloured, for a whole video
    store        artifacts and their keys, jobs, records of runs
    demo_data    scenes rendered from a seed
      | scoring  J and F under the benchmarks' protocols
    datasets     manifests, finding files, reading and checking them
    pages        HTML pages: templates and charts
      | formats  pictures, masks, boxes, optical flow, COCO, Caffe: functions of bytes
    settings     every number's one home
    basics       files written whole, threads, processes, progress, digests, sizes
    graph        which stage needs what
    errors | names
"""
