//! The functions that may be jobs, and the code that calls them with bytes.

#![expect(unsafe_code, reason = "makes values of functions, which have no bytes")]

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::place::{CleanupCall, Entry, JobCall, Place, SetupCall};
use crate::context::JobContext;
use crate::worker::Fault;

/// A function that can be a job: a `fn`, generic or not, or a closure that captures nothing, of up
/// to eight arguments. It may take a [`&JobContext`](JobContext) before them.
///
/// Implemented for all such functions; `M` tells the two forms apart and is always inferred.
/// Arguments and result travel by [`serde`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a job with the arguments `{Args}`",
    label = "not a job function for these arguments",
    note = "a job is a `fn` or a closure that captures nothing; it takes its arguments by value, \
            after an optional `&JobContext`, and they are given as a tuple: `(7,)`, `(1, \"a\".to_string())`",
    note = "a closure must name the types of its arguments: `|n: u64| n * n`"
)]
pub trait JobFn<Args, M>: Copy + Send + Sync + 'static {
    /// What it returns.
    type Output;

    /// Calls it.
    fn call(self, context: &JobContext, args: Args) -> Self::Output;
}

/// Marks a [`JobFn`] without a context.
#[derive(Debug)]
pub struct Plain;

/// Marks a [`JobFn`] with a context.
#[derive(Debug)]
pub struct WithContext;

macro_rules! job_fns {
    ($(($($arg:ident)*))*) => {$(
        impl<F, R, $($arg),*> JobFn<($($arg,)*), Plain> for F
        where
            F: Fn($($arg),*) -> R + Copy + Send + Sync + 'static,
        {
            type Output = R;

            #[allow(non_snake_case, clippy::allow_attributes)]
            fn call(self, _context: &JobContext, ($($arg,)*): ($($arg,)*)) -> R {
                self($($arg),*)
            }
        }

        impl<F, R, $($arg),*> JobFn<($($arg,)*), WithContext> for F
        where
            F: Fn(&JobContext, $($arg),*) -> R + Copy + Send + Sync + 'static,
        {
            type Output = R;

            #[allow(non_snake_case, clippy::allow_attributes)]
            fn call(self, context: &JobContext, ($($arg,)*): ($($arg,)*)) -> R {
                self(context, $($arg),*)
            }
        }
    )*};
}

job_fns! {
    ()
    (A1)
    (A1 A2)
    (A1 A2 A3)
    (A1 A2 A3 A4)
    (A1 A2 A3 A4 A5)
    (A1 A2 A3 A4 A5 A6)
    (A1 A2 A3 A4 A5 A6 A7)
    (A1 A2 A3 A4 A5 A6 A7 A8)
}

/// A [`JobFn`] that returns a `Result`, whose `Err` is a failure of the job.
pub trait TryJobFn<Args, M>: JobFn<Args, M, Output = Result<Self::Success, Self::Error>> {
    /// What it returns when it succeeds.
    type Success;
    /// Why it fails.
    type Error: std::fmt::Display;
}

impl<F, Args, M, T, E> TryJobFn<Args, M> for F
where
    F: JobFn<Args, M, Output = Result<T, E>>,
    E: std::fmt::Display,
{
    type Success = T;
    type Error = E;
}

/// A function that is called with the data of a worker when the worker ends in good order.
pub trait CleanupFn<T>: Fn(&T) + Copy + Send + Sync + 'static {}

impl<T, F: Fn(&T) + Copy + Send + Sync + 'static> CleanupFn<T> for F {}

/// A function value out of nothing.
///
/// Evaluating it fails to compile, with this text, for anything that has bytes.
fn function<F: Copy>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a job function must capture nothing, because it runs in another process: \
             pass what it needs as arguments, and give the function itself, not a pointer to it"
        );
    }
    // SAFETY: `F` has no bytes, so any aligned address holds one; it is `Copy`, so that one more
    // breaks no rule of its own.
    unsafe { std::ptr::NonNull::<F>::dangling().read() }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    let (value, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() { Ok(value) } else { Err(postcard::Error::DeserializeBadEncoding) }
}

fn arguments<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    decode(bytes).map_err(|e| Fault::Unreadable(format!("the arguments do not deserialise: {e}")))
}

fn result<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    postcard::to_stdvec(value)
        .map_err(|e| Fault::Unreadable(format!("the result does not serialise: {e}")))
}

/// The entry of a job function.
pub(crate) struct JobEntry<F, Args, M>(PhantomData<(F, Args, M)>);

impl<F, Args, M> JobEntry<F, Args, M>
where
    F: JobFn<Args, M, Output: Serialize>,
    Args: DeserializeOwned + 'static,
    M: 'static,
{
    const ENTRY: &'static Entry<JobCall> =
        &Entry::new::<F>(|args, context| result(&function::<F>().call(context, arguments(args)?)));

    pub(crate) fn place() -> Place<JobCall> {
        Place::of(Self::ENTRY)
    }
}

/// The entry of a job function whose `Err` is a failure.
pub(crate) struct TryJobEntry<F, Args, M>(PhantomData<(F, Args, M)>);

impl<F, Args, M> TryJobEntry<F, Args, M>
where
    F: TryJobFn<Args, M, Success: Serialize>,
    Args: DeserializeOwned + 'static,
    M: 'static,
{
    const ENTRY: &'static Entry<JobCall> =
        &Entry::new::<F>(|args, context| match function::<F>().call(context, arguments(args)?) {
            Ok(value) => result(&value),
            Err(e) => Err(Fault::Returned(format!("{e:#}"))),
        });

    pub(crate) fn place() -> Place<JobCall> {
        Place::of(Self::ENTRY)
    }
}

/// The entry of a setup function.
pub(crate) struct SetupEntry<F, Args, M>(PhantomData<(F, Args, M)>);

impl<F, Args, M> SetupEntry<F, Args, M>
where
    F: JobFn<Args, M, Output: Send + Sync + 'static>,
    Args: DeserializeOwned + 'static,
    M: 'static,
{
    const ENTRY: &'static Entry<SetupCall> =
        &Entry::new::<F>(|args| Ok(Arc::new(set_up::<F, Args, M>(args)?)));

    pub(crate) fn place() -> Place<SetupCall> {
        Place::of(Self::ENTRY)
    }
}

/// The entry of a setup function that may fail.
pub(crate) struct TrySetupEntry<F, Args, M>(PhantomData<(F, Args, M)>);

impl<F, Args, M> TrySetupEntry<F, Args, M>
where
    F: TryJobFn<Args, M, Success: Send + Sync + 'static>,
    Args: DeserializeOwned + 'static,
    M: 'static,
{
    const ENTRY: &'static Entry<SetupCall> =
        &Entry::new::<F>(|args| match set_up::<F, Args, M>(args)? {
            Ok(data) => Ok(Arc::new(data)),
            Err(e) => Err(format!("{e:#}")),
        });

    pub(crate) fn place() -> Place<SetupCall> {
        Place::of(Self::ENTRY)
    }
}

fn set_up<F, Args, M>(args: &[u8]) -> Result<F::Output, String>
where
    F: JobFn<Args, M>,
    Args: DeserializeOwned,
{
    let args = decode(args).map_err(|e| format!("the arguments do not deserialise: {e}"))?;
    Ok(function::<F>().call(&JobContext::outside(), args))
}

/// The entry of a cleanup function.
pub(crate) struct CleanupEntry<F, T>(PhantomData<(F, T)>);

impl<F: CleanupFn<T>, T: 'static> CleanupEntry<F, T> {
    const ENTRY: &'static Entry<CleanupCall> = &Entry::new::<F>(|data| {
        if let Some(data) = data.downcast_ref::<T>() {
            function::<F>()(data);
        }
    });

    pub(crate) fn place() -> Place<CleanupCall> {
        Place::of(Self::ENTRY)
    }
}
