//! Jobs that wait for other jobs, and how jobs become final.

use pleiad_types::JobId;

use crate::job::{Job, Links, State};
use crate::scheduler::Scheduler;
use crate::spec::{Failure, Outcome, Output, SubmitError};

/// Below this many, dependents that are gone are not worth a thought.
const DEPENDENTS_SMALL: usize = 64;

impl<P> Scheduler<P> {
    /// Checks that a job may wait for these, and gives them without repetition.
    pub(crate) fn known_dependencies(&self, after: &[JobId]) -> Result<Vec<JobId>, SubmitError> {
        let mut after = after.to_vec();
        after.sort_unstable();
        after.dedup();
        let is_unknown = |id: &&JobId| self.jobs.get(id.0).is_none_or(|job| job.released);
        match after.iter().find(is_unknown) {
            Some(&id) => Err(SubmitError::NoSuchDependency(id)),
            None => Ok(after),
        }
    }

    /// Lets a new job wait for these jobs, as far as they have not succeeded. Final ones that have
    /// not succeeded end it at once.
    pub(crate) fn block(&mut self, job_id: JobId, after: Vec<JobId>) {
        let state = |id: &JobId| self.jobs.get(id.0).map(|job| job.state);
        let failed = |s: State| matches!(s, State::Failed | State::Cancelled);
        if let Some(&id) = after.iter().find(|id| state(id).is_some_and(failed)) {
            self.finish(job_id, Outcome::Failed(Failure::Dependency(id)));
            return;
        }
        let mut dependencies = after;
        dependencies.retain(|id| state(id) != Some(State::Succeeded));
        if dependencies.is_empty() {
            self.enqueue(job_id);
            return;
        }
        for id in &dependencies {
            self.add_dependent(*id, job_id);
        }
        let on = u32::try_from(dependencies.len()).expect("a list of jobs fits into memory");
        let job = self.jobs.get_mut(job_id.0).expect("a new job has a record");
        job.state = State::Blocked { on };
        job.links = Some(Box::new(Links { dependents: Vec::new(), dependencies }));
    }

    /// Makes a job final. Those that wait for it are told in [`Self::tell_dependents`].
    ///
    /// The job must not be in a lane (except as a ghost) or have a timer; if it waits in a queue,
    /// the caller takes it out.
    pub(crate) fn finish(&mut self, job_id: JobId, outcome: Outcome<P>) {
        let job = self.jobs.get_mut(job_id.0).expect("a job that ends has a record");
        debug_assert!(!job.state.is_final(), "{job_id} ends twice");
        job.set_state(
            &mut self.counts,
            match outcome {
                Outcome::Succeeded(_) => State::Succeeded,
                Outcome::Failed(_) => State::Failed,
                Outcome::Cancelled => State::Cancelled,
            },
        );
        let attempt = job.attempt();
        if job.released || job.links.is_some() {
            self.ended.push_back(job_id);
        }
        self.outputs.push_back(Output::Finish { job: job_id, attempt, outcome });
    }

    /// Tells those who wait for jobs that have ended, and forgets the records that nobody asks for.
    /// Works off a list instead of calling itself: chains may be long.
    pub(crate) fn tell_dependents(&mut self) {
        while let Some(id) = self.ended.pop_front() {
            let Some(job) = self.jobs.get_mut(id.0) else { continue };
            let succeeded = job.state == State::Succeeded;
            let links = job.links.take();
            for dependent in links.into_iter().flat_map(|links| links.dependents) {
                self.tell_dependent(dependent, id, succeeded);
            }
            if self.jobs.get(id.0).is_some_and(|job| job.released) {
                self.forget(id);
            }
        }
    }

    /// Takes the record of a final job away.
    pub(crate) fn forget(&mut self, id: JobId) {
        if let Some(job) = self.jobs.remove(id.0) {
            self.classes.get_mut(job.class).jobs -= 1;
            self.classes.forget_unused(job.class);
        }
    }

    fn tell_dependent(&mut self, dependent: JobId, on: JobId, succeeded: bool) {
        let Some(job) = self.jobs.get_mut(dependent.0) else { return };
        match job.state {
            State::Blocked { on: 1 } if succeeded => {
                if let Some(links) = &mut job.links {
                    links.dependencies = Vec::new();
                    if links.dependents.is_empty() {
                        job.links = None;
                    }
                }
                self.enqueue(dependent);
            }
            State::Blocked { on } if succeeded => job.state = State::Blocked { on: on - 1 },
            State::Blocked { .. } => {
                self.finish(dependent, Outcome::Failed(Failure::Dependency(on)));
            }
            // It was cancelled meanwhile.
            _ => {}
        }
    }

    fn add_dependent(&mut self, id: JobId, dependent: JobId) {
        let job = self.jobs.get_mut(id.0).expect("dependencies have been checked");
        let mut links = job.links.take().unwrap_or_default();
        let list = &mut links.dependents;
        if list.len() == list.capacity() && list.len() >= DEPENDENTS_SMALL {
            // Many cancelled jobs may have waited for a job that runs for weeks.
            let is_blocked = |job: &Job| matches!(job.state, State::Blocked { .. });
            list.retain(|id| self.jobs.get(id.0).is_some_and(is_blocked));
        }
        list.push(dependent);
        if let Some(job) = self.jobs.get_mut(id.0) {
            job.links = Some(links);
        }
    }
}
