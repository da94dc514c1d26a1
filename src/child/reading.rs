//! A child that has the terminal and is given a text, such as a pager.
//!
//! A person uses it, with settings of their own. So it stands where they stand, because it may be told to write a file. Must
//! not know: which program it is, what the text is.

use std::io::Write;
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, Stdio};

use super::{Child, anchored};
use crate::error::{IoContext, Result};

/// A child that reads what it is given.
#[derive(Debug)]
pub struct Reading {
    process: Process,
    /// None once it does not read any more.
    input: Option<ChildStdin>,
}

impl Child {
    /// Starts it with this process's terminal and without a limit on its time.
    ///
    /// # Errors
    /// User: there is no such program, or it cannot be started.
    pub fn read(&self) -> Result<Reading> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().stdin(Stdio::piped());
        command.envs(self.environment.iter().map(|(name, value)| (name, anchored(name, value))));
        let mut process = command.spawn().at("start", Path::new(&self.program))?;
        let input = process.stdin.take();
        Ok(Reading { process, input })
    }
}

impl Reading {
    /// Gives it more. Whether it goes on reading: a reader who has seen enough is no error.
    pub fn give(&mut self, text: &[u8]) -> bool {
        if self.input.as_mut().is_some_and(|input| input.write_all(text).is_err()) {
            self.input = None;
        }
        self.input.is_some()
    }

    /// Waits until it ends. Its exit code, if it ended by itself.
    pub fn end(mut self) -> Option<i32> {
        self.input = None;
        self.process.wait().ok()?.code()
    }
}
