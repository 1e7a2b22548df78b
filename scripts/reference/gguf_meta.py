"""Writes a model's hyperparameters and a tokenizer into a GGUF file through the `gguf` package."""

import gguf


def add_hparams(w, c, arch):
    """`c` is a transformers configuration (rope_parameters form)."""
    heads, kv = c.num_attention_heads, c.num_key_value_heads
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // heads
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_vocab_size(c.vocab_size)
    if arch == "llama":
        w.add_rope_dimension_count(head_dim)
    if head_dim * heads != c.hidden_size or arch == "qwen3":
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if c.rope_parameters["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(c.rope_parameters["factor"])


def add_tokenizer(w, spec, pre=True):
    """`spec` is a toks.Spec. `pre=False` leaves tokenizer.ggml.pre out, as files of before 2024-05 do."""
    w.add_tokenizer_model(spec.gguf_model)
    if pre and spec.pre:
        w.add_tokenizer_pre(spec.pre)
    w.add_token_list([t.encode("utf-8") for t in spec.tokens()])
    if spec.scores is not None:
        w.add_token_scores(spec.scores)
    w.add_token_types(spec.types)
    if spec.gguf_model == "gpt2":
        w.add_token_merges(merges(spec.tok))
    for token, add in (
        (spec.bos, w.add_bos_token_id), (spec.eos, w.add_eos_token_id), (spec.unk, w.add_unk_token_id), (spec.pad, w.add_pad_token_id),
    ):
        if token is not None:
            add(spec.id(token))
    w.add_add_bos_token(spec.add_bos)
    w.add_add_eos_token(False)
    if spec.gguf_model == "llama":
        w.add_add_space_prefix(True)
    if spec.chat:
        w.add_chat_template(spec.chat)


def merges(tok):
    import json

    return [m if isinstance(m, str) else " ".join(m) for m in json.loads(tok.to_str())["model"]["merges"]]
