//! Questions about a whole grid of points, before anything is generated.
//!
//! [`grid`] shows what selection finds at each point; [`stability`] what it would find on other rows. Both
//! read what plans of the engine name, and compute nothing themselves. Must not know: how a plan is made,
//! how a table looks.

pub mod grid;
pub mod stability;
