//! A Llama of two layers in Hugging Face layout: its config.json and its tensors.

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// A tensor's name and shape.
pub type Tensor = (String, Vec<usize>);

/// A config.json: two layers, 16 wide and 24 inside, four heads that share two keys, 32 tokens. `changes` are laid over it.
pub fn config(changes: Value) -> Value {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true,
    });
    let changes = changes.as_object().expect("changes are an object").clone();
    config.as_object_mut().expect("it is an object").extend(changes);
    config
}

/// The tensors that such a config.json asks for, in the model's order.
pub fn tensors(config: &Value) -> Vec<Tensor> {
    let size = |key: &str| usize::try_from(config[key].as_u64().expect(key)).expect("a size");
    let (hidden, inner) = (size("hidden_size"), size("intermediate_size"));
    let kv = hidden / size("num_attention_heads") * size("num_key_value_heads");
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![size("vocab_size"), hidden])];
    for layer in 0..size("num_hidden_layers") {
        for (name, shape) in [
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![kv, hidden]),
            ("self_attn.v_proj", vec![kv, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
        ] {
            all.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    all.push(("model.norm.weight".into(), vec![hidden]));
    all
}

/// A file of these tensors, as f32 or as bf16. `value` gets a tensor's name and a flat index, in order.
pub fn safetensors(tensors: &[Tensor], dtype: Dtype, mut value: impl FnMut(&str, usize) -> f32) -> Vec<u8> {
    let mut bytes_of = |(name, shape): &Tensor| -> Vec<u8> {
        let values = (0..shape.iter().product()).map(|index| value(name, index));
        match dtype {
            Dtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
            Dtype::BF16 => values.flat_map(|value| half::bf16::from_f32(value).to_le_bytes()).collect(),
            other => panic!("no test writes {other:?}"),
        }
    };
    let buffers: Vec<Vec<u8>> = tensors.iter().map(&mut bytes_of).collect();
    let views = tensors.iter().zip(&buffers).map(|((name, shape), bytes)| {
        (name, TensorView::new(dtype, shape.clone(), bytes).expect("the bytes are those of the shape"))
    });
    safetensors::serialize(views, None).expect("the tensors are whole")
}
