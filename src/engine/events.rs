//! What the engine reports while it works.
//!
//! Must not know: bars, terminals, logs.

use super::price::Total;
use crate::store::Owner;

/// Is told what happens in a run. Every method does nothing by default.
pub trait Observer: Sync {
    /// A node begins: it is number `position` (from 1) of the `total` nodes known now.
    fn started(&self, node: &str, position: usize, total: usize) {
        let _ = (node, position, total);
    }

    /// How far a node is, in `unit`s.
    fn progress(&self, node: &str, done: u64, total: u64, unit: &str) {
        let _ = (node, done, total, unit);
    }

    /// Something worth a line: a warning, a resumption.
    fn note(&self, node: &str, text: &str) {
        let _ = (node, text);
    }

    /// Another process computes this node now.
    fn waiting(&self, node: &str, owner: &Owner) {
        let _ = (node, owner);
    }

    /// A node was computed here.
    fn finished(&self, node: &str, seconds: f64) {
        let _ = (node, seconds);
    }

    /// What all that is missing will cost, as far as earlier runs tell. Said before each node.
    fn left(&self, total: &Total) {
        let _ = total;
    }

    /// A node was computed elsewhere while we waited.
    fn shared(&self, node: &str) {
        let _ = node;
    }
}

/// An observer that ignores everything.
pub struct Silent;

impl Observer for Silent {}
