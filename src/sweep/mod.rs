//! Questions about a whole grid of points, before anything is generated.
//!
//! [`difference`] compares two runs. [`search`] measures few points of a
//! lattice as parts of ordinary jobs, and tells which of them no other one beats. [`grid`] shows what selection finds at each point, and [`stability`] what it would find on other rows. Both read the outputs
//! of a plan's nodes, and compute no node themselves. Must not know: how a plan is made, how a table looks.

pub mod difference;
pub mod grid;
pub mod search;
pub mod stability;
