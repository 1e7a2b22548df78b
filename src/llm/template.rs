//! Chat templates: the Jinja text in a model's files that turns messages into a prompt.
//!
//! Rendered by minijinja with what transformers gives templates: `raise_exception`, `strftime_now`, `tojson` that
//! escapes nothing, methods of Python's strings, lists and dictionaries, `{% generation %}` (only a mark), and blocks
//! trimmed as `trim_blocks` and `lstrip_blocks` do.

use crate::{Error, Result, Status};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind, context};
use std::io::{self, Write};
use std::sync::Arc;

/// Most bytes of a template's text.
const MAX_SOURCE: usize = 4 << 20;
/// Most bytes of a rendered prompt.
const MAX_OUTPUT: usize = 64 << 20;
/// Most instructions that one rendering may take: thousands of messages, but no endless loop.
const FUEL: u64 = 20_000_000;
const NAME: &str = "chat_template";

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of `role` that says `content`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into() }
    }
}

/// A compiled chat template. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct ChatTemplate(Arc<Inner>);

struct Inner {
    environment: Environment<'static>,
    source: String,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles `source`. `bos` and `eos` are the texts of these tokens, which templates name as `bos_token` and
    /// `eos_token`.
    ///
    /// Instructions, recursion and the output's length are bounded, and a repeated string is at most 100 MB. A string
    /// that a template doubles again and again with `~` is not: minijinja has no limit on it. Do not render templates
    /// of models that you would not otherwise trust with the process's memory.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<ChatTemplate> {
        if source.len() > MAX_SOURCE {
            return Err(Error::format(format!(
                "the chat template has {} bytes; at most {MAX_SOURCE} are allowed",
                source.len()
            )));
        }
        let mut e = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        e.set_syntax(syntax.map_err(|e| explain(&e))?);
        e.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        e.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        e.set_fuel(Some(FUEL));
        e.set_recursion_limit(100);
        e.add_function("raise_exception", |message: String| -> std::result::Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        e.add_function("strftime_now", strftime_now);
        e.add_filter("tojson", tojson);
        e.add_template_owned(NAME, without_generation(source)).map_err(|e| explain(&e))?;
        let (source, bos, eos) = (source.to_owned(), bos.to_owned(), eos.to_owned());
        Ok(ChatTemplate(Arc::new(Inner { environment: e, source, bos, eos })))
    }

    /// The error for a chat with a model whose files hold no template. Guessing one would give bad text silently.
    pub fn missing(model: &str) -> Error {
        Error::new(Status::NotFound, format!("the model {model} has no chat template")).advise(
            "it may be a base model: give it a plain prompt, or set a template (tokenizer.chat_template in a GGUF \
             file, chat_template.jinja in a folder)",
        )
    }

    /// The prompt for `messages`. With `add_generation_prompt` it ends where the assistant's answer begins. Encode it
    /// with `add_special = false, parse_special = true`. A template that runs away is stopped and is an error; so is
    /// one that refuses the messages (by `raise_exception`), with its own words.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.render_values(Value::from(Serde(messages)), Value::from(()), add_generation_prompt)
    }

    /// As [`ChatTemplate::render`], for messages with more fields than a role and a text, and with descriptions of
    /// tools (`null` for none), both as JSON.
    pub fn render_json(
        &self,
        messages: &serde_json::Value,
        tools: &serde_json::Value,
        add_generation_prompt: bool,
    ) -> Result<String> {
        self.render_values(Value::from(Serde(messages)), Value::from(Serde(tools)), add_generation_prompt)
    }

    fn render_values(&self, messages: Value, tools: Value, add_generation_prompt: bool) -> Result<String> {
        let t = &*self.0;
        let template = t.environment.get_template(NAME).map_err(|e| explain(&e))?;
        let values = context! {
            messages,
            tools,
            add_generation_prompt,
            bos_token => t.bos.as_str(),
            eos_token => t.eos.as_str(),
            documents => (),
        };
        let mut out = Bounded(Vec::new());
        template.render_captured_to(values, &mut out).map_err(|e| explain(&e))?;
        String::from_utf8(out.0).map_err(|_| Error::format("the chat template rendered what is not UTF-8"))
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.0.source
    }
}

/// Output up to a limit.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.0.len() + piece.len() > MAX_OUTPUT {
            return Err(io::Error::other(format!("the prompt is longer than {MAX_OUTPUT} bytes")));
        }
        self.0.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn explain(e: &minijinja::Error) -> Error {
    let mut text = format!("chat template: {e}");
    let mut source = std::error::Error::source(e);
    while let Some(s) = source {
        text.push_str(&format!(": {s}"));
        source = s.source();
    }
    Error::format(text)
}

/// `{% generation %}` marks what the assistant said, for training. It is replaced by a condition that always holds,
/// so that the tags' effect on white space stays.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = tag[2..].find("%}") else {
            out.push_str(tag);
            return out;
        };
        let (tag, after) = tag.split_at(2 + end + 2);
        let inner = &tag[2..tag.len() - 2];
        let open = &inner[..inner.len() - inner.trim_start_matches(['-', '+']).len()];
        let close = &inner[inner.trim_end_matches(['-', '+']).len()..];
        match inner.trim_matches(['-', '+']).trim() {
            "generation" => out.push_str(&format!("{{%{open} if true {close}%}}")),
            "endgeneration" => out.push_str(&format!("{{%{open} endif {close}%}}")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The local time, by C's `strftime`.
fn strftime_now(format: &str) -> std::result::Result<String, minijinja::Error> {
    let bad = || minijinja::Error::new(ErrorKind::InvalidOperation, "strftime_now: bad format");
    if format.is_empty() {
        return Ok(String::new());
    }
    let format = std::ffi::CString::new(format).map_err(|_| bad())?;
    let mut buffer = [0u8; 1024];
    // SAFETY: `now` and `parts` are valid for the calls, `format` ends with NUL, and `buffer` is as long as said.
    let written = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut parts).is_null() {
            return Err(bad());
        }
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &parts)
    };
    if written == 0 {
        return Err(bad());
    }
    String::from_utf8(buffer[..written].to_vec()).map_err(|_| bad())
}

/// JSON as Python's `json.dumps(ensure_ascii=False)` writes it: `", "` and `": "` between, unless `indent` is given.
fn tojson(value: &Value, args: Kwargs) -> std::result::Result<Value, minijinja::Error> {
    let bad = |e: &dyn std::fmt::Display| {
        minijinja::Error::new(ErrorKind::InvalidOperation, format!("tojson: {e}"))
    };
    let indent: Option<usize> = args.get("indent")?;
    // Named by templates, with the value that we use anyway.
    let _: Option<bool> = args.get("ensure_ascii")?;
    args.assert_all_used()?;
    if indent.is_some_and(|n| n > 16) {
        return Err(bad(&"an indent above 16"));
    }
    let json = serde_json::to_value(value).map_err(|e| bad(&e))?;
    let mut out = String::new();
    write_json(&json, indent, 0, &mut out);
    Ok(Value::from(out))
}

fn write_json(v: &serde_json::Value, indent: Option<usize>, depth: usize, out: &mut String) {
    use serde_json::Value as Json;
    let line = |out: &mut String, depth: usize| {
        if let Some(n) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', n * depth));
        }
    };
    let between = if indent.is_some() { "," } else { ", " };
    match v {
        Json::Array(items) if !items.is_empty() => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { between });
                line(out, depth + 1);
                write_json(item, indent, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Json::Object(map) if !map.is_empty() => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { between });
                line(out, depth + 1);
                out.push_str(&format!("{}: ", Json::from(key.as_str())));
                write_json(item, indent, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String> {
        let messages = [Message::new("user", "Hi <b>"), Message::new("assistant", "Yo")];
        ChatTemplate::new(source, "<s>", "</s>")?.render(&messages, true)
    }

    #[test]
    fn blocks_are_trimmed_and_tokens_named() {
        let source = "{{ bos_token }}{% for m in messages %}\n    {% if true %}\n[{{ m['role'] }}] {{ m.content | trim }}\n    {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}[assistant]{% endif %}";
        assert_eq!(render(source).unwrap(), "<s>[user] Hi <b>\n[assistant] Yo\n[assistant]");
    }

    #[test]
    fn python_habits_work() {
        assert_eq!(render("{{ messages[0].content.split(' ')[0].upper() }}").unwrap(), "HI");
        assert_eq!(render("{{ messages[1:][0]['content'] + eos_token }}").unwrap(), "Yo</s>");
        assert_eq!(render("{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}").unwrap(), "2");
        assert_eq!(render("{% if tools is not none %}x{% endif %}{{ tools is defined }}").unwrap(), "True");
        assert_eq!(render("{%- generation -%} a {%- endgeneration %}|").unwrap(), "a|");
        assert_eq!(render("{{ strftime_now('%Y') | length }}").unwrap(), "4");
    }

    #[test]
    fn tojson_writes_as_python_does() {
        assert_eq!(render("{{ messages[0] | tojson }}").unwrap(), r#"{"role": "user", "content": "Hi <b>"}"#);
        assert_eq!(
            render("{{ {'a': [1, 'é'], 'b': []} | tojson(indent=2) }}").unwrap(),
            "{\n  \"a\": [\n    1,\n    \"é\"\n  ],\n  \"b\": []\n}"
        );
    }

    #[test]
    fn a_template_may_refuse() {
        let e = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
        assert_eq!(e.status(), Status::Format);
        assert!(e.to_string().contains("roles must alternate"), "{e}");
        assert!(render("{% if %}").is_err());
        assert!(render("a{%} b %}").is_err());
        assert!(render("{%-+-%}").is_err());
        assert!(render("{{ messages[0].nothing.at_all }}").is_err());
    }

    #[test]
    fn templates_render_as_transformers_does() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/chat_templates.json");
        let fixture: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut compared = 0;
        for t in fixture.as_array().unwrap() {
            for case in t["cases"].as_array().unwrap() {
                let var = |name: &str| case["vars"][name].as_str().unwrap();
                let template =
                    ChatTemplate::new(t["template"].as_str().unwrap(), var("bos_token"), var("eos_token"));
                let got = template.unwrap().render_json(
                    &case["messages"],
                    &case["tools"],
                    case["add_generation_prompt"].as_bool().unwrap(),
                );
                match case.get("error").and_then(|e| e.as_str()) {
                    Some(e) => assert!(got.unwrap_err().message().contains(e), "{}", t["name"]),
                    None => assert_eq!(got.unwrap(), case["text"].as_str().unwrap(), "{}", t["name"]),
                }
                compared += 1;
            }
        }
        assert!(compared >= 50);
    }

    #[test]
    fn hostile_templates_end() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(render(loops).is_err());
        assert!(render("{{ 'a' * 99999999999 }}").is_err());
        assert!(render("{% for a in range(99) %}{{ 'a' * 9999999 }}{% endfor %}").is_err());
        assert!(render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").is_err());
        assert!(render(&"{{ (".repeat(5000)).is_err());
        assert!(render("{{ strftime_now('%9999999d') }}").is_err());
        assert!(render("{{ [1] | tojson(indent=999999999) }}").is_err());
    }
}
