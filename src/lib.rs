//! `dean`: find the few weights where fairness and privacy meet, set them to zero, and say what it did.

pub mod config;
pub mod data;
pub mod digest;
pub mod engine;
pub mod error;
pub mod files;
pub mod judge;
pub mod model;
pub mod rank;
pub mod score;
pub mod stages;
pub mod stats;
pub mod store;
pub mod tables;
pub mod tensors;
