//! A language model behind an OpenAI-compatible endpoint, as judges ask it: chat completions, several at once.
//!
//! Some endpoints refuse what others need, such as log-probabilities. What one refuses is left out from then on. Must not know:
//! what is judged, where settings come from.

mod client;
mod reply;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::{Value, json};

pub use self::client::checked;
use self::client::{Client, Failure, Key, Patience};
use super::form::{Form, Prompt};
use super::{Completer, Completion, Listener};
use crate::error::{Error, Result};

/// How often somebody looks whether the work is to be stopped.
const LOOK: Duration = Duration::from_millis(50);

/// Likeliest tokens that are asked for at each place: endpoints allow so many at least.
const TOP: usize = 5;

/// What an endpoint may refuse, and what is sent in place of it: a word of its complaint.
const REFUSALS: [&str; 3] = ["logprobs", "max_tokens", "temperature"];

/// Before an endpoint is asked again for what did not come; after that twice as long each time.
const PAUSE: Duration = Duration::from_millis(500);

/// How an endpoint is asked. Nothing of it changes a verdict.
#[derive(Clone, Debug)]
pub struct Access {
    /// The environment variable that holds the key.
    pub key_env: Option<String>,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// How many are asked for at once.
    pub at_once: usize,
}

/// A model at an endpoint.
pub struct Endpoint {
    client: Client,
    model: String,
    at_once: usize,
    /// In the order of [`REFUSALS`].
    refused: [AtomicBool; 3],
}

impl Endpoint {
    /// `url` is what stands before `/chat/completions`.
    ///
    /// # Errors
    /// User: an address that cannot be asked, or a variable without a key.
    pub fn new(url: &str, model: &str, access: &Access) -> Result<Self> {
        let key = access.key_env.as_deref().map(Key::from_variable).transpose()?;
        let client = Client::new(url, key, Patience { answer: access.timeout, pause: PAUSE })?;
        Ok(Self { client, model: model.to_owned(), at_once: access.at_once.max(1), refused: Default::default() })
    }

    /// Whether a prompt can be sent at all.
    ///
    /// # Errors
    /// User: a template that is a whole prompt.
    pub fn check(&self, prompt: &Prompt, form: &Form) -> Result<()> {
        self.body(prompt, form).map(drop)
    }

    /// What is sent for one prompt.
    fn body(&self, prompt: &Prompt, form: &Form) -> Result<Value> {
        let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
        let messages = match prompt {
            Prompt::Pair { question, answer } => vec![turn("user", question), turn("assistant", answer)],
            Prompt::Message(content) => vec![turn("user", content)],
            Prompt::Raw(_) => {
                return Err(Error::user("an endpoint takes messages, and this template is a whole prompt").hint(
                    "write judge.template with {question} and {answer}, without the marks of a chat template around them",
                ));
            }
        };
        let [logprobs, max_tokens, temperature] = &self.refused;
        let is = |refused: &AtomicBool| refused.load(Ordering::Relaxed);
        let mut body = json!({ "model": self.model, "messages": messages });
        let limit = if is(max_tokens) { "max_completion_tokens" } else { "max_tokens" };
        body[limit] = form.max_new_tokens.into();
        if !is(temperature) {
            body["temperature"] = 0.into();
        }
        if !is(logprobs) {
            body["logprobs"] = true.into();
            body["top_logprobs"] = TOP.into();
        }
        Ok(body)
    }

    /// The completion of one prompt.
    fn ask(&self, row: usize, prompt: &Prompt, form: &Form, halt: &AtomicBool) -> Result<Completion> {
        loop {
            let body = self.body(prompt, form)?;
            match self.client.ask(row, &body, halt, &|text| reply::read(text, form)) {
                Ok(completion) => return Ok(completion),
                Err(Failure::Refused { told, error }) => {
                    let fresh = REFUSALS
                        .iter()
                        .zip(&self.refused)
                        .find(|(word, refused)| told.contains(*word) && !refused.load(Ordering::Relaxed));
                    match fresh {
                        Some((_, refused)) => refused.store(true, Ordering::Relaxed),
                        // Another thread may have found out meanwhile.
                        None if self.body(prompt, form)? != body => {}
                        None => return Err(error),
                    }
                }
                Err(Failure::Final(error)) => return Err(error),
            }
        }
    }
}

impl Completer for Endpoint {
    fn complete(&self, prompts: &[Prompt], form: &Form, listener: &mut dyn Listener<Completion>) -> Result<()> {
        let (next, halt) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.at_once.min(prompts.len()) {
                let (sender, next, halt) = (sender.clone(), &next, &halt);
                scope.spawn(move || {
                    while !halt.load(Ordering::Relaxed) {
                        let row = next.fetch_add(1, Ordering::Relaxed);
                        let Some(prompt) = prompts.get(row) else { return };
                        let completion = self.ask(row, prompt, form, halt);
                        let failed = completion.is_err();
                        // Nobody listens any more where another row has failed.
                        if sender.send((row, completion)).is_err() || failed {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut heard = Ok(());
            loop {
                let step = match receiver.recv_timeout(LOOK) {
                    Ok((row, completion)) => {
                        completion.and_then(|said| listener.hear(row, said)).and_then(|()| listener.go_on())
                    }
                    Err(RecvTimeoutError::Timeout) => listener.go_on(),
                    Err(RecvTimeoutError::Disconnected) => return heard,
                };
                // What the others still bring is heard, and the first error is told.
                if let Err(error) = step {
                    halt.store(true, Ordering::Relaxed);
                    if heard.is_ok() {
                        heard = Err(error);
                    }
                }
            }
        })
    }
}
