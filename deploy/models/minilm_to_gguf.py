#!/usr/bin/env python3
"""Converts all-MiniLM-L6-v2, a BERT encoder in a zip of Hugging Face files, to a GGUF file with Q8_0 matrices.

usage: minilm_to_gguf.py MODEL.zip OUT.gguf
"""
import json
import struct
import sys
import zipfile

import gguf
import numpy as np

EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.": "token_embd_norm.",
}
LAYER = {
    "attention.self.query.": "attn_q.",
    "attention.self.key.": "attn_k.",
    "attention.self.value.": "attn_v.",
    "attention.output.dense.": "attn_output.",
    "attention.output.LayerNorm.": "attn_output_norm.",
    "intermediate.dense.": "ffn_up.",
    "output.dense.": "ffn_down.",
    "output.LayerNorm.": "layer_output_norm.",
}
# llama.cpp looks these up by row and wants them as floats.
KEPT_AS_FLOATS = ("position_embd.weight", "token_types.weight")


def gguf_name(name):
    for prefix, replacement in EMBEDDINGS.items():
        if name.startswith(prefix):
            return replacement + name[len(prefix):]
    _, _, layer, rest = name.split(".", 3)  # encoder.layer.N.…
    for prefix, replacement in LAYER.items():
        if rest.startswith(prefix):
            return f"blk.{layer}.{replacement}{rest[len(prefix):]}"
    raise ValueError(f"unknown tensor {name}")


def read_tensors(data):
    """The tensors of a safetensors file: an 8-byte length, a JSON header, then the bytes."""
    (length,) = struct.unpack("<Q", data[:8])
    for name, info in json.loads(data[8:8 + length]).items():
        if name == "__metadata__" or name.startswith("pooler.") or name.endswith("position_ids"):
            continue
        if info["dtype"] != "F32":
            raise ValueError(f"{name} is {info['dtype']}, not F32")
        begin, end = info["data_offsets"]
        values = np.frombuffer(data, np.float32, (end - begin) // 4, 8 + length + begin)
        yield gguf_name(name), values.reshape(info["shape"])


def add_vocabulary(writer, vocabulary):
    tokens = sorted(vocabulary, key=vocabulary.get)
    is_special = lambda token: token.startswith("[") and token.endswith("]")

    def spell(token):  # WordPiece marks the inside of a word, GGUF its beginning
        if is_special(token):
            return token
        return token[2:] if token.startswith("##") else "\u2581" + token

    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([spell(token).encode() for token in tokens])
    writer.add_token_types([gguf.TokenType.CONTROL if is_special(token) else gguf.TokenType.NORMAL for token in tokens])
    writer.add_unk_token_id(vocabulary["[UNK]"])
    writer.add_sep_token_id(vocabulary["[SEP]"])
    writer.add_pad_token_id(vocabulary["[PAD]"])
    writer.add_mask_token_id(vocabulary["[MASK]"])
    writer.add_bos_token_id(vocabulary["[CLS]"])


def main():
    archive = zipfile.ZipFile(sys.argv[1])
    config = json.loads(archive.read("config.json"))
    writer = gguf.GGUFWriter(sys.argv[2], "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_license("apache-2.0")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_token_type_count(config["type_vocab_size"])
    add_vocabulary(writer, json.loads(archive.read("tokenizer.json"))["model"]["vocab"])
    q8 = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in read_tensors(archive.read("model.safetensors")):
        if tensor.ndim == 2 and name not in KEPT_AS_FLOATS:
            writer.add_tensor(name, gguf.quantize(tensor, q8), raw_dtype=q8)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
