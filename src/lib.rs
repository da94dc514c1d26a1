//! `dean` finds the few weights of a chat model where fairness and privacy meet, sets them to zero, and
//! says what that did. This page is the map; ARCHITECTURE.md has the picture, the reasons and the table
//! of what enters which key.
//!
//! A job is one file, pipeline.toml. [`config`] reads it and complains with line, column and the nearest
//! known key. [`engine`] turns it into a plan: nodes, each with a key made of its parameters and the content
//! of its inputs. What is in the [`store`] under its key is not computed again; what is missing is computed
//! by a stage, published, and planned anew, until nothing is missing.
//!
//! The [`stages`] are eleven files of one shape: tokenize and score for each data set, select and controls once for the whole grid, then
//! patch, generate, inspect, judge, divergence and perplexity for each distinct mask, and at the end the report. A stage is a pure function that
//! never sees the store. It uses
//!
//! * [`model`]: checkpoints, tokenisers, and the one decoder that reads, writes and scores;
//! * [`score`]: what number a weight gets from a data set;
//! * [`rank`]: the best weights of each matrix, the rules that combine them, and masks;
//! * [`inspect`]: what can be read off an answer without a judge;
//! * [`judge`]: what an answer is called, and by whom;
//! * [`data`] and [`stats`]: rows of files and which of them are drawn, intervals;
//! * [`tables`] and [`tensors`]: the files that stages hand to each other, which DuckDB and pandas read;
//! * [`report`]: findings from outcomes, as facts, as JSON and as text.
//!
//! [`sweep`] asks what a grid of points selects, and how stable that is. [`export`] takes patched models out again, as a
//! Hugging Face directory or as the patch alone. [`show`] puts answers of base and variant side by side.
//! [`page`] makes one HTML file of everything.
//!
//! All rooms use [`error`] (a sentence, a hint, one of three kinds), [`digest`] (names for bytes, the keys), [`files`],
//! [`layout`] (tables of plain text), [`naming`] (what points are called), [`machine`] (its memory and its limits) and one file that writes Parquet. At the top is
//! [`cli`], the only room that prints.
//!
//! A room uses only rooms below it. Scores, rules, judges, model families and stages are tables with one line for each member,
//! and a member is one file. ARCHITECTURE.md says how to add one.
#![deny(unsafe_code)]

// Made-up reports are shared with tests outside of the library, which call it by its name.
#[cfg(test)]
extern crate self as dean;

pub mod allocator;
mod bounded;
mod child;
pub mod choice;
pub mod cli;
mod columns;
pub mod config;
pub mod data;
pub mod digest;
pub mod engine;
pub mod error;
pub mod export;
pub mod files;
#[cfg(test)]
mod foreign;
pub mod inspect;
pub mod judge;
pub mod layout;
pub mod machine;
pub mod model;
pub mod naming;
pub mod page;
pub mod rank;
pub mod report;
pub mod score;
pub mod search;
pub mod show;
pub mod size;
pub mod spelling;
pub mod stages;
pub mod stats;
pub mod store;
pub mod sweep;
pub mod tables;
pub mod tensors;
