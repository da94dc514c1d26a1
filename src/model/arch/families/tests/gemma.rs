//! What Gemma 2 and 3 are where config.json is silent, and the two spellings of Gemma 3.

use super::*;

#[test]
fn the_text_part_of_a_larger_model_has_a_way_out() {
    let parts = json!({"text_config": {"model_type": "gemma3_text"}, "vision_config": {}});
    let error = config("gemma3", parts).unwrap_err();
    assert!(error.message().starts_with("m/config.json: model_type is gemma3"), "{error}");
    assert!(error.hint_text().unwrap().contains("docs/gemma.md"));
}

#[test]
fn a_silent_gemma_is_what_transformers_makes_of_it() {
    let windows = |config: &DecoderConfig| config.blocks.iter().map(|block| block.window).collect::<Vec<_>>();
    let second = config("gemma2", json!({})).unwrap();
    assert_eq!((second.head_dim, second.context, second.tied_head), (256, 8192, true));
    assert_eq!((second.attention_cap, second.logit_cap), (Some(50.0), Some(30.0)));
    assert_eq!((second.embedding_scale, second.attention_scale), (Some(8.0), Some(1.0 / 16.0)));
    assert_eq!((second.norm_offset, second.qk_norm, second.norm_eps), (true, false, 1e-6));
    assert_eq!(windows(&second), [Some(4096), None, Some(4096)]);
    let uncapped =
        json!({"attn_logit_softcapping": null, "final_logit_softcapping": null, "query_pre_attn_scalar": 144});
    let uncapped = config("gemma2", uncapped).unwrap();
    assert_eq!((uncapped.attention_cap, uncapped.logit_cap, uncapped.attention_scale), (None, None, Some(1.0 / 12.0)));

    let third = config("gemma3_text", json!({"num_hidden_layers": 7})).unwrap();
    assert_eq!((third.context, third.attention_cap, third.logit_cap, third.qk_norm), (131_072, None, None, true));
    assert_eq!(windows(&third), [[Some(4096); 5].as_slice(), &[None, Some(4096)]].concat());
    let bases: Vec<f64> = third.blocks.iter().map(|block| block.rope.theta).collect();
    assert_eq!(bases, [1e4, 1e4, 1e4, 1e4, 1e4, 1e6, 1e4]);
    for config in [second, uncapped, third] {
        let block = &config.blocks[0];
        assert_eq!((block.norms, block.gate), (Norms::Around, Gate::GeluTanh));
        assert_eq!(
            from_config(Path::new("c"), &to_config(&config).unwrap(), &mut Vec::new()).unwrap(),
            config,
            "and can be written"
        );
    }
}

#[test]
fn both_spellings_of_gemma_3_say_the_same() {
    let old = json!({
        "rope_theta": 5e5, "rope_local_base_freq": 9e3, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "sliding_window": 16, "sliding_window_pattern": 2, "cache_implementation": "hybrid",
    });
    let new = json!({
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 9e3},
        },
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "sliding_window": 16, "_sliding_window_pattern": 6,
    });
    let read = config("gemma3_text", old).unwrap();
    assert_eq!(read, config("gemma3_text", new.clone()).unwrap());
    assert_eq!(read.blocks[0].rope, Rope::plain(9e3), "a layer with a window is not stretched");
    assert_eq!(read.blocks[1].rope, Rope { theta: 5e5, scaling: RopeScaling::Linear { factor: 8.0 } });
    let said = to_config(&read).unwrap();
    assert_eq!(
        (from_config(Path::new("c"), &said, &mut Vec::new()).unwrap(), &said["sliding_window_pattern"]),
        (read, &json!(2))
    );
    let mut twice = new;
    twice["rope_scaling"] = json!({"rope_type": "linear", "factor": 8.0});
    assert!(refusal("gemma3_text", twice).contains("rope_scaling"));
    let part = json!({"rope_parameters": {"full_attention": {"rope_theta": 2e6}, "sliding_attention": null}});
    let part = config("gemma3_text", part).unwrap();
    assert_eq!(part.blocks[0].rope, Rope::plain(1e4), "what is left out has its default");
}
