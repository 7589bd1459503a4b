"""The eight datasets in the layouts in which they are published, written by hand, a few entries each.

The oddities are the real ones: captions of a picture do not stand together and some end in a line break; MSVD's
descriptions begin with remarks and its questions name clips by number; cells with commas are quoted; Cap3D's have no
header.
"""

import json
from pathlib import Path

COCO_TRAIN = {
    "info": {"year": 2014},
    "images": [{"id": 9, "file_name": "COCO_train2014_000000000009.jpg"}, {"id": 25, "file_name": "x"}],
    "annotations": [
        {"image_id": 9, "id": 661, "caption": "Closeup of bins of food that include broccoli and bread."},
        {"image_id": 25, "id": 127, "caption": "A giraffe eating food from the top of the tree.\n"},
        {"image_id": 9, "id": 667, "caption": "A meal is presented in brightly colored plastic trays."},
    ],
}
COCO_VAL = {
    "annotations": [
        {"image_id": 42, "id": 1, "caption": "This wire metal rack holds several pairs of shoes"},
        {"image_id": 42, "id": 2, "caption": "A shoe rack with some shoes "},
    ]
}
OK_QUESTIONS = {"questions": [{"image_id": 25, "question": "What animal is this?", "question_id": 250}]}
OK_ANSWERS = {
    "annotations": [
        {
            "question_id": 250,
            "image_id": 25,
            "answer_type": "other",
            "answers": [
                {"answer_id": n, "raw_answer": a, "answer_confidence": "yes", "answer": a}
                for n, a in enumerate(["giraffes", "giraffe", "giraffe", "giraffe", "giraffes", "camel"])
            ],
        }
    ]
}
DESCRIPTIONS = """# This file contains descriptions of YouTube clips.
# Each line: <clip> <description>

-4wsuPCjDBc_5_15 a squirrel is eating a peanut in it's shell
-4wsuPCjDBc_5_15 a chipmunk is eating
-7KMZQEsJW4_205_208 a little dog is barking
tested_1_2 a man plays a guitar
tested_1_2 someone plays music
"""
MAPPING = "-4wsuPCjDBc_5_15 vid1\n-7KMZQEsJW4_205_208 vid2\nbetween_0_1 vid1250\ntested_1_2 vid1301\n"
AUDIOCAPS = """audiocap_id,youtube_id,start_time,caption
91139,r1nicOVtvkQ,130,A woman talks nearby as water pours
58146,UDGBjjwyaXE,20,"Multiple clanging, then clanking sounds"
11542,GoneForEver,30,Nobody can hear this any more
"""
AUDIOCAPS_TEST = """audiocap_id,youtube_id,start_time,caption
103549,7fmOlUlwoNg,0,Constant rattling noise and sharp vibrations
103548,7fmOlUlwoNg,0,A rocket flies by
"""
CLOTHO = """file_name,QuestionText,answer,confidence
"Birds, morning.wav",Are there birds?,yes,yes
"Birds, morning.wav",Are there birds?,yes,yes
"Birds, morning.wav",Are there birds?,no,maybe
rain.wav ,What falls?,rain,yes
rain.wav,What falls?,water,no
"""
CAP3D = """aa01,a red chair with four legs
bb02,"a long, long, {filler} table"
cc03,"a small, blue boat"
6760e543e1d645d5aaacd3803bcae524,a broken one
nocloud,a chair that was not downloaded
""".replace("{filler}", "long " * 20)
CAP3D_QA = """sample_id,question,answer,caption,instance_id
aa01,What colour is the chair?,red,a red chair,1
cc03,"What is this, a boat?",yes,a boat,2
bb02,How is the table?,long,a table,3
nocloud,What is it?,chair,x,4
"""


def write(folder: Path) -> Path:
    """All of them below folder/data."""
    texts = {
        "coco-2014/annotations/captions_train2014.json": json.dumps(COCO_TRAIN),
        "coco-2014/annotations/captions_val2014.json": json.dumps(COCO_VAL),
        "ok-vqa/OpenEnded_mscoco_train2014_questions.json": json.dumps(OK_QUESTIONS),
        "ok-vqa/mscoco_train2014_annotations.json": json.dumps(OK_ANSWERS),
        "ok-vqa/OpenEnded_mscoco_val2014_questions.json": json.dumps(OK_QUESTIONS).replace("25", "42"),
        "ok-vqa/mscoco_val2014_annotations.json": json.dumps(OK_ANSWERS).replace("25", "42"),
        "msvd/AllVideoDescriptions.txt": DESCRIPTIONS,
        "msvd/youtube_mapping.txt": MAPPING,
        "msvd-qa/train_qa.json": json.dumps([{"answer": "eat", "id": 0, "question": "what?", "video_id": 1}]),
        "msvd-qa/test_qa.json": json.dumps([{"answer": "man", "id": 9, "question": "who plays?", "video_id": 1301}]),
        "audiocaps/train.csv": AUDIOCAPS,
        "audiocaps/test.csv": AUDIOCAPS_TEST,
        "clotho-aqa/clotho_aqa_train.csv": CLOTHO,
        "clotho-aqa/clotho_aqa_test.csv": CLOTHO,
        "cap3d/Cap3D_automated_Objaverse_full.csv": CAP3D,
        "cap3d/CAP3DQA_final.csv": CAP3D_QA,
    }
    media = [f"coco-2014/train2014/COCO_train2014_{id:012d}.jpg" for id in (9, 25)]
    media += ["coco-2014/val2014/COCO_val2014_000000000042.jpg"]
    media += [f"msvd/YouTubeClips/{line.split()[0]}.avi" for line in MAPPING.splitlines()]
    media += ["audiocaps/audio/r1nicOVtvkQ.wav", "audiocaps/audio/train/UDGBjjwyaXE_20.flac"]
    media += ["audiocaps/audio/Y7fmOlUlwoNg.wav"]
    media += ["clotho-aqa/audio_files/Birds, morning.wav", "clotho-aqa/audio_files/rain.wav"]
    media += [f"cap3d/8192_npy/{uid}_8192.npy" for uid in ("aa01", "bb02", "cc03", "6760e543e1d645d5aaacd3803bcae524")]
    for name, text in {**texts, **dict.fromkeys(media, "")}.items():
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder
