//! Chat templates: where one is from, what it may see, and what it makes of a conversation.
//!
//! `jinja.rs` renders as transformers does. `tools` and `documents` are none, as in transformers where nobody passes any.
//! Must not know: tokenisers, Jinja's constructs.

use std::sync::Arc;

use minijinja::ErrorKind;
use minijinja::value::{Enumerator, Object, Value};

use super::jinja;
use super::thoughts::Think;
use crate::bounded::{self, Limits};
use crate::error::{Error, Result};

/// The most bytes of a template. Published ones have a few tens of thousands.
const LONGEST: usize = 128 << 10;

/// What rendering may take, in minijinja's unit: an instruction, or 64 bytes of text that it makes or reads. A conversation of
/// a hundred turns takes some tens of thousands. It is also the deepest that values can nest, which the stack has room for.
const FUEL: u64 = 1_000_000;

/// The most bytes of a prompt, besides what a template that repeats every message four times makes of them.
const LONGEST_PROMPT: usize = 1 << 20;

/// What published templates call the variable that says whether the model is to think. Qwen3, SmolLM3 and most others have
/// the first, Granite and DeepSeek-V3.1 the second.
const THINK_SWITCHES: [&str; 2] = ["enable_thinking", "thinking"];

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`; the template decides what it accepts.
    pub role: String,
    pub content: String,
}

impl Message {
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".into(), content: content.into() }
    }

    pub fn system(content: impl Into<String>) -> Self {
        Self { role: "system".into(), content: content.into() }
    }

    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant".into(), content: content.into() }
    }
}

/// A message as templates see it: a map whose keys keep their order.
impl Object for Message {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "role" => Some(Value::from(self.role.as_str())),
            "content" => Some(Value::from(self.content.as_str())),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["role", "content"])
    }
}

/// A chat template, and where it came from.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    place: String,
    source: String,
}

impl ChatTemplate {
    /// `place` is how errors call it.
    pub fn new(place: impl Into<String>, source: impl Into<String>) -> Self {
        Self { place: place.into(), source: source.into() }
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation. `specials` are the tokens that the template may use, such as `bos_token`.
    ///
    /// # Errors
    /// The template is too long, malformed, uses what is not supported, or raises an exception of its own.
    pub(super) fn render(
        &self,
        messages: &[Message],
        specials: &[(&'static str, String)],
        add_generation_prompt: bool,
        think: Think,
        chat_date: &str,
    ) -> Result<String> {
        let place = &self.place;
        if self.source.len() > LONGEST {
            let size = self.source.len();
            return Err(Error::user(format!("{place}: the template has {size} bytes; {LONGEST} are the most")));
        }
        let most = messages.iter().map(|message| message.content.len()).sum::<usize>().saturating_mul(4);
        let most = most.saturating_add(LONGEST_PROMPT);
        let (template, messages, specials) = (self.clone(), messages.to_vec(), specials.to_vec());
        let date = chat_date.to_owned();
        // A template comes with a model. Fuel bounds what it does, but not how deep it and its values are nested.
        let rendered = bounded::within(Limits::SMALL, move || {
            template.render_here(&messages, &specials, add_generation_prompt, think, &date)
        });
        let text = rendered.map_err(|excess| refused(place, "", &excess.to_string()))??;
        match text.len() <= most {
            true => Ok(text),
            false => {
                Err(refused(place, "", &format!("it makes a prompt of {} bytes; {most} are the most here", text.len())))
            }
        }
    }

    fn render_here(
        &self,
        messages: &[Message],
        specials: &[(&'static str, String)],
        add_generation_prompt: bool,
        think: Think,
        chat_date: &str,
    ) -> Result<String> {
        let mut environment = jinja::environment(chat_date)?;
        environment.set_fuel(Some(FUEL));
        for (token, text) in specials {
            environment.add_global(*token, text.as_str());
        }
        // none, not undefined: templates ask `tools is not none`
        environment.add_global("tools", ());
        environment.add_global("documents", ());
        environment.add_global("messages", Value::from_iter(messages.iter().cloned().map(Value::from_object)));
        environment.add_global("add_generation_prompt", add_generation_prompt);
        let source = jinja::prepared(&self.source);
        let template = environment
            .template_from_named_str("chat_template", &source)
            .map_err(|cause| failure(&self.place, &cause))?;
        let switches = match think {
            Think::Model => Vec::new(),
            Think::On | Think::Off => self.switches(&template)?,
        };
        let switches = switches.into_iter().map(|switch| (switch, Value::from(think == Think::On)));
        template.render(Value::from_pairs(switches)).map_err(|cause| failure(&self.place, &cause))
    }

    /// The variables of the template that say whether the model is to think.
    fn switches(&self, template: &minijinja::Template<'_, '_>) -> Result<Vec<&'static str>> {
        let used = template.undeclared_variables(false);
        let switches: Vec<&str> = THINK_SWITCHES.into_iter().filter(|switch| used.contains(*switch)).collect();
        if switches.is_empty() {
            let names = THINK_SWITCHES.join(" nor ");
            return Err(Error::user(format!(
                "{}: the template has no switch for thoughts: it reads neither {names}",
                self.place
            ))
            .hint("set generate.think = \"model\", which leaves it to the template, or name a template that has the switch"));
        }
        Ok(switches)
    }
}

fn failure(place: &str, cause: &minijinja::Error) -> Error {
    let line = cause.line().map_or_else(String::new, |line| format!(", line {line}"));
    let detail = match cause.kind() {
        ErrorKind::OutOfFuel => "it loops for too long or makes too much text".to_owned(),
        kind => cause.detail().map_or_else(|| kind.to_string(), str::to_owned),
    };
    refused(place, &line, &detail)
}

fn refused(place: &str, line: &str, why: &str) -> Error {
    Error::user(format!("{place}{line}: {why}"))
        .hint("correct the template, name another one with chat_template, or set chat_template = \"none\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(source: &str, messages: &[Message]) -> Result<String> {
        thinking(source, messages, Think::Model)
    }

    fn thinking(source: &str, messages: &[Message], think: Think) -> Result<String> {
        let specials = [("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())];
        ChatTemplate::new("m: chat template", source).render(messages, &specials, true, think, "26 Jul 2024")
    }

    /// The ends of Qwen3's and Granite's templates.
    #[test]
    fn thoughts_are_switched_by_the_templates_own_variable() {
        let qwen3 = "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is \
            defined and enable_thinking is false %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}";
        let begun = "<|im_start|>assistant\n";
        let closed = format!("{begun}<think>\n\n</think>\n\n");
        for (think, expected) in [(Think::Model, begun), (Think::On, begun), (Think::Off, &closed)] {
            assert_eq!(thinking(qwen3, &[], think).unwrap(), expected, "{think}");
        }
        let granite = "{%- if thinking %}think{%- endif %}!";
        assert_eq!(thinking(granite, &[], Think::Model).unwrap(), "!");
        assert_eq!(thinking(granite, &[], Think::On).unwrap(), "think!");
        for without in ["<think>\n", "{% set thinking = true %}{{ thinking }}", "{{ '{{ enable_thinking }}' }}"] {
            assert!(thinking(without, &[], Think::Model).is_ok());
            let error = thinking(without, &[], Think::Off).unwrap_err();
            assert!(
                error.message().starts_with("m: chat template: the template has no switch for thoughts"),
                "{error}"
            );
        }
    }

    #[test]
    fn blocks_leave_no_trace_of_their_lines() {
        let source = "{{ bos_token }}\n{% for m in messages %}\n    {% if m.role == 'user' %}\n[{{ m['content'].strip() }}]\n    {% endif %}\n{% endfor %}\n{{ '<a>' if add_generation_prompt }}\n";
        assert_eq!(with(source, &[Message::system("x"), Message::user(" hi ")]).unwrap(), "<s>\n[hi]\n<a>");
    }

    #[test]
    fn dates_come_from_the_pipeline_and_tools_are_none() {
        let source = "{{ strftime_now('%d %b %Y') }}{% if tools is not none %} tools{% endif %}{{ pad_token }}";
        assert_eq!(with(source, &[]).unwrap(), "26 Jul 2024");
    }

    /// The template of Llama 2's chat models, and constructs of Qwen3's that are not in it.
    #[test]
    fn the_python_in_published_templates_is_understood() {
        let llama2 = r"{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";
        let turns = [Message::system("S"), Message::user("a "), Message::assistant("b"), Message::user("c")];
        let expected = "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\na [/INST] b </s><s>[INST] c [/INST]";
        assert_eq!(with(llama2, &turns).unwrap(), expected);
        assert!(with(llama2, &turns[2..]).unwrap_err().message().ends_with("Conversation roles must alternate"));

        let qwen3 = r"{%- set ns = namespace(last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == 'user' and message.content is string and not(message.content.startswith('<t>')) %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{{- ns.last }}
{%- if enable_thinking is defined and enable_thinking is false %}no{%- endif %}
{%- for message in messages if '</think>' in message.content %}
    {%- if message.tool_calls %}calls{%- endif %}
    {{- message.content.split('</think>')[-1].lstrip('\n') }}
{%- endfor %}";
        let turns = [Message::user("a"), Message::assistant("x</think>\n\ny"), Message::user("c")];
        assert_eq!(with(qwen3, &turns).unwrap(), "0y");
    }

    #[test]
    fn marks_of_what_the_assistant_says_mean_nothing() {
        let marked = "{% for m in messages %}\n[{{ m.role }}]\n{%- generation -%}\n {{ m.content }}\n{% endgeneration %}\n!{% endfor %}\n";
        let plain =
            "{% for m in messages %}\n[{{ m.role }}]\n{%- if true -%}\n {{ m.content }}\n{% endif %}\n!{% endfor %}\n";
        let turns = [Message::user("a"), Message::assistant("b")];
        assert_eq!(with(marked, &turns).unwrap(), "[user]a\n![assistant]b\n!");
        assert_eq!(with(marked, &turns).unwrap(), with(plain, &turns).unwrap());
        assert!(with("{% generations %}", &[]).is_err() && with("{% generation %}", &[]).is_err());
    }

    #[test]
    fn deep_and_long_templates_end_in_a_text_or_a_sentence() {
        let filled = |before: &str, piece: &str, after: &str| {
            let count = (LONGEST - before.len() - after.len()) / piece.len();
            format!("{before}{}{after}", piece.repeat(count))
        };
        for source in [
            filled("{{ ", "not ", "1 }}"),
            filled("{{ ", "-", "1 }}"),
            filled("{{ 1", "**1", " }}"),
            filled("{{ 1", "+1", " }}"),
            filled("{{ 'a'", "|upper", " }}"),
            filled("{{ messages", "[0]", " }}"),
            filled("{{ ", "(", " }}"),
            filled("{% if 0 %}", "{% elif 0 %}", "{% endif %}"),
            filled("", "{% if 1 %}", ""),
        ] {
            match with(&source, &[]) {
                Ok(text) => assert!(text.len() < 10, "{text}"),
                Err(error) => assert!(error.message().starts_with("m: chat template, line 1: "), "{error}"),
            }
        }
        assert_eq!(with(&filled("", "a", ""), &[]).unwrap().len(), LONGEST);
        let long = with(&"a".repeat(LONGEST + 1), &[]).unwrap_err();
        assert_eq!(long.message(), "m: chat template: the template has 131073 bytes; 131072 are the most");
    }

    #[test]
    fn loops_may_be_left_and_gone_on_with() {
        let source = "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}\
            {% if loop.index0 == 2 %}{% break %}{% endif %}{% endfor %}";
        let turns = [Message::user("a"), Message::system("S"), Message::user("b"), Message::user("c")];
        assert_eq!(with(source, &turns).unwrap(), "ab");
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let messages = [Message::user("a <b> \"é\"\n")];
        assert_eq!(
            with("{{ messages | tojson }}", &messages).unwrap(),
            r#"[{"role": "user", "content": "a <b> \"é\"\n"}]"#
        );
        let source = "{{ {'b': [1, true, none, 0.5], 'a': []} | tojson(indent=2) }}";
        let out = with(source, &[]).unwrap();
        assert!(out.contains("\n    1,\n    true,\n    null,\n    0.5\n  ]") && out.contains("\"a\": []"), "{out}");
    }

    #[test]
    fn failures_name_the_template_and_the_line() {
        let error = with("a\n{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
        assert_eq!(error.message(), "m: chat template, line 2: the template says: roles must alternate");
        assert!(with("{% for %}", &[]).unwrap_err().message().starts_with("m: chat template, line 1: "));
        assert!(with("{{ messages[0].content.nope() }}", &[Message::user("x")]).is_err());
    }
}
