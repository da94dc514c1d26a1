//! The engine: plans, explains and runs a pipeline. It knows stages only through their trait.
//!
//! [`planner::Planner`] turns a pipeline into nodes with keys and states, reading only the store and the
//! files beside the pipeline; [`run::Runner`] does what the plan says is missing, planning again after
//! every node with the same function; [`price`] says what that will take; [`explain`] compares a node with its last time.
//! Nothing here prints: [`events::Observer`] is told.

pub mod events;
mod execute;
pub mod explain;
mod inputs;
pub mod plan;
mod planner;
pub mod price;
mod questions;
pub mod run;
mod shared;
mod sources;
#[cfg(test)]
mod testing;

pub use events::Observer;
pub use plan::{Part, Plan, Planned, State};
pub use planner::Planner;
pub use price::{Price, Pricer, Range, Total};
pub use run::{Runner, Session, Summary};
pub use shared::identities;
pub use sources::ModelDigests;
