use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;

use pleiad_types::limits::{SHAPE_DEPTH_MAX, SHAPE_NODES_MAX, SHAPE_STEPS_MAX};

use super::graph::{Graph, Node, NodeId, ROOT, Request};
use super::tracer::Tracer;

/// Reads `T` again and again from dummies, until there is nothing more to see.
///
/// A run answers each request with the dummy that its position has chosen. Enums go through their
/// variants, all enums of a run at once; a variant is left when nothing in it is still open. If a run
/// fails, then a choice takes its next dummy: the last one within the position that failed, or else the
/// closest around it. Each choice tries each dummy once, so this ends; at a limit, it ends early, and
/// what was seen counts.
pub(super) fn trace<T: DeserializeOwned>() -> Trace {
    let mut trace = Trace::new();
    loop {
        trace.run = Run::default();
        let read = || trace.position(ROOT, |tracer| T::deserialize(tracer).map(drop));
        let ended = catch_unwind(AssertUnwindSafe(read));
        if ended.is_err() {
            trace.fail();
        }
        let complete = matches!(ended, Ok(Ok(()))) && trace.run.open == 0;
        if complete || trace.steps > SHAPE_STEPS_MAX || !(trace.run.progress || trace.blame()) {
            return trace;
        }
    }
}

/// What is known so far, and the run that goes on.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) graph: Graph,
    /// Where the visitor of a type, with a request, came first.
    definitions: HashMap<(&'static str, Request), NodeId>,
    pub(super) steps: usize,
    run: Run,
}

#[derive(Debug, Default)]
struct Run {
    /// Enums met that have variants to go through.
    open: usize,
    /// Whether a variant is done with.
    progress: bool,
    /// Choices in their order.
    made: Vec<NodeId>,
    /// Positions from the root to where we are. A panic leaves it as it was.
    path: Vec<Step>,
    /// Types on the path that are described elsewhere, or in one that is.
    known: Vec<(&'static str, Request)>,
    /// Whether an error is on its way through the path.
    falling: bool,
    failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    /// The node whose request was met: see [`Node::other`].
    node: Option<NodeId>,
    made: usize,
    known: usize,
}

/// The innermost position of the last error.
#[derive(Debug)]
struct Failure {
    /// The choices from here on were made within it.
    made: usize,
    around: Vec<NodeId>,
}

impl Trace {
    fn new() -> Self {
        let graph = Graph { nodes: vec![Node::default()] };
        Self { graph, definitions: HashMap::new(), steps: 0, run: Run::default() }
    }

    /// Reads what is at this position.
    pub(super) fn position<R>(
        &mut self,
        node: NodeId,
        read: impl FnOnce(Tracer<'_>) -> Result<R, Cut>,
    ) -> Result<R, Cut> {
        let run = &mut self.run;
        run.path.push(Step { node: None, made: run.made.len(), known: run.known.len() });
        let result = read(Tracer::new(self, node));
        if result.is_err() && !self.run.falling {
            self.fail();
        }
        self.run.falling = result.is_err();
        if let Some(step) = self.run.path.pop() {
            self.run.known.truncate(step.known);
            if let (Ok(_), Some(node)) = (&result, step.node) {
                let choice = &mut self.graph.nodes[node].choice;
                choice.settled.get_or_insert(choice.pick);
            }
        }
        result
    }

    /// Notes what a visitor of type `V` asks for at a position. Gives the node of this request.
    pub(super) fn ask<V>(&mut self, node: NodeId, request: Request) -> Result<NodeId, Cut> {
        self.step()?;
        if self.run.path.len() > SHAPE_DEPTH_MAX {
            return Err(Cut);
        }
        let (node, is_new) = self.record(node, request)?;
        if let Some(step) = self.run.path.last_mut() {
            step.node = Some(node);
        }
        if request.kind.is_compound() {
            let key = (type_name::<V>(), request);
            if is_new {
                let target = self.definitions.get(&key).copied();
                self.graph.nodes[node].target = target;
                self.graph.nodes[node].choice.start = self.variant_that_works(target);
                if target.is_none() && self.run.known.is_empty() {
                    self.definitions.insert(key, node);
                }
            }
            if self.is_known(node) {
                if self.run.known.iter().any(|known| known.0 == key.0 && known.1.is(&key.1)) {
                    return Err(Cut); // A value of a type that goes on for ever, if it can.
                }
                self.run.known.push(key);
            }
        }
        Ok(node)
    }

    /// As [`ask`](Self::ask), of what is no type of its own.
    pub(super) fn record(
        &mut self,
        mut node: NodeId,
        request: Request,
    ) -> Result<(NodeId, bool), Cut> {
        loop {
            match &self.graph.nodes[node].request {
                Some(known) if known.is(&request) => return Ok((node, false)),
                Some(_) => {
                    node = match self.graph.nodes[node].other {
                        Some(other) => other,
                        None => {
                            let other = self.add()?;
                            *self.graph.nodes[node].other.insert(other)
                        }
                    }
                }
                None => {
                    self.graph.nodes[node].request = Some(request);
                    return Ok((node, true));
                }
            }
        }
    }

    /// The position in `parent` with this index.
    pub(super) fn child(&mut self, parent: NodeId, index: usize) -> Result<NodeId, Cut> {
        while self.graph.nodes[parent].children.len() <= index {
            let child = self.add()?;
            self.graph.nodes[parent].children.push(child);
        }
        Ok(self.graph.nodes[parent].children[index])
    }

    /// Counts what a type may do without end.
    pub(super) fn step(&mut self) -> Result<(), Cut> {
        self.steps += 1;
        if self.steps > SHAPE_STEPS_MAX { Err(Cut) } else { Ok(()) }
    }

    /// Which of `count` dummies to answer with.
    pub(super) fn choose(&mut self, node: NodeId, count: usize) -> usize {
        self.run.made.push(node);
        let choice = &mut self.graph.nodes[node].choice;
        choice.count = count;
        choice.pick
    }

    /// Whether an option, sequence or map has something in it. What is known is made small.
    pub(super) fn choose_presence(&mut self, node: NodeId) -> bool {
        (self.choose(node, 2) == 0) == self.run.known.is_empty()
    }

    /// Reads one variant of an enum that has so many.
    pub(super) fn variant<R>(
        &mut self,
        node: NodeId,
        variants: usize,
        read: impl FnOnce(&mut Self, usize) -> Result<R, Cut>,
    ) -> Result<R, Cut> {
        // An enum that does not tell its variants has one at least.
        let variants = variants.max(1);
        if self.is_known(node) {
            let start = self.graph.nodes[node].choice.start;
            let variant = (start + self.choose(node, variants)) % variants;
            let result = read(self, variant);
            if let (Ok(_), Some(target)) = (&result, self.graph.nodes[node].target) {
                self.graph.nodes[target].choice.start = variant;
            }
            return result;
        }

        self.run.made.push(node);
        let choice = &mut self.graph.nodes[node].choice;
        choice.variants = variants;
        let explored = choice.explored;
        let is_open = explored < variants;
        let variant = if is_open {
            explored
        } else {
            choice.count = choice.worked.len();
            *choice.worked.get(choice.pick).ok_or(Cut)?
        };
        let open_before = self.run.open;
        let result = read(self, variant);
        let choice = &mut self.graph.nodes[node].choice;
        if is_open && result.is_ok() && self.run.open == open_before {
            choice.worked.push(variant);
            choice.explored += 1;
            self.run.progress = true;
        }
        if choice.explored < variants {
            self.run.open += 1;
        }
        result
    }

    /// Whether this type is described elsewhere, or this position is in one that is.
    fn is_known(&self, node: NodeId) -> bool {
        self.graph.nodes[node].target.is_some() || !self.run.known.is_empty()
    }

    /// The variant with which an enum described elsewhere begins, to make a value soon.
    fn variant_that_works(&self, target: Option<NodeId>) -> usize {
        let Some(target) = target else { return 0 };
        let choice = &self.graph.nodes[target].choice;
        choice.worked.first().copied().unwrap_or(choice.start)
    }

    fn add(&mut self) -> Result<NodeId, Cut> {
        if self.graph.nodes.len() >= SHAPE_NODES_MAX {
            return Err(Cut);
        }
        self.graph.nodes.push(Node::default());
        Ok(self.graph.nodes.len() - 1)
    }

    // ---- after a failure ----

    /// The position where we are has failed.
    fn fail(&mut self) {
        let Some(last) = self.run.path.last() else { return };
        let around = self.run.path.iter().filter_map(|step| step.node).collect();
        self.run.failure = Some(Failure { made: last.made, around });
    }

    /// Makes the choice that is most likely to blame another one. Whether there is any.
    fn blame(&mut self) -> bool {
        let Some(failure) = self.run.failure.take() else { return false };
        let made = std::mem::take(&mut self.run.made);
        let within = made.iter().skip(failure.made).rev();
        within.chain(failure.around.iter().rev()).any(|&node| self.advance(node))
    }

    fn advance(&mut self, node: NodeId) -> bool {
        let choice = &mut self.graph.nodes[node].choice;
        if choice.explored < choice.variants {
            choice.explored += 1;
            return true;
        }
        if choice.tried + 1 < choice.count {
            choice.tried += 1;
            choice.pick = choice.tried;
            return true;
        }
        match choice.settled {
            // It is not to blame: from here on, others are tried with what it was content with.
            Some(settled) if settled != choice.pick => {
                choice.pick = settled;
                true
            }
            _ => false,
        }
    }
}

/// A run ends here. What a type says about its errors is not kept.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a dummy does not suit")
    }
}

impl std::error::Error for Cut {}

impl serde::de::Error for Cut {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}
